import { createByteLines, type ByteLine } from "./byte-lines.ts";

/** One frame of a server-sent event stream. Offsets count bytes of the whole stream. */
export type SseFrame = {
  /** Value of the `event` field; empty when there was none. */
  event: string;
  /** The `data` lines, joined; undefined when they were too large to be kept. */
  data: string | undefined;
  startOffset: number;
  endOffset: number;
};

export type SseParser = {
  /** Takes the next bytes, however they were cut, and calls `onFrame` for each frame that they complete. */
  push(chunk: Buffer): void;
  /** The end of the stream: a last frame without its blank line still counts. */
  end(): void;
  /** Where the frame that is not complete yet began. */
  openFrameOffset(): number;
  /** Value of its `event` field, as far as that has come. */
  openFrameEvent(): string;
};

/** Frames that carry usage are some hundred bytes; what is larger is passed on but not kept. A line and a frame: 1 MB. */
const MAX_KEPT_BYTES = 512 * 1024;

const COLON = 58;
const SPACE = 32;

type OpenFrame = {
  startOffset: number;
  event: string;
  data: string[];
  dataBytes: number;
  hasData: boolean;
  oversized: boolean;
};

function newFrame(startOffset: number): OpenFrame {
  return {
    startOffset,
    event: "",
    data: [],
    dataBytes: 0,
    hasData: false,
    oversized: false,
  };
}

const DATA = Buffer.from("data");
const EVENT = Buffer.from("event");
const NOTHING = Buffer.alloc(0);

/** The value of a line that has this field; undefined: it has another. */
function valueOf(field: Buffer, line: Buffer): Buffer | undefined {
  const { length } = field;
  // Compared byte by byte: a stream has thousands of lines, and text would have to be made of each.
  for (let index = 0; index < length; index++) if (line[index] !== field[index]) return undefined;
  if (line.length === length) return NOTHING;
  if (line[length] !== COLON) return undefined;
  return line.subarray(line[length + 1] === SPACE ? length + 2 : length + 1);
}

/**
 * Reads the framing of an event stream (WHATWG HTML, server-sent events) over bytes: LF, CR and CRLF, a byte order
 * mark, comments, characters cut anywhere. Memory is bounded whatever comes, and no input makes it throw. One
 * leniency: an `event` line after data starts a new frame, so that a lost blank line does not lose the usage.
 */
export function createSseParser(onFrame: (frame: SseFrame) => void): SseParser {
  let frame = newFrame(0);
  let received = 0;

  function dispatch(endOffset: number): void {
    const { hasData, oversized, event, data, startOffset } = frame;
    frame = newFrame(endOffset);
    // An event without data is none.
    if (!hasData) return;
    onFrame({ event, data: oversized ? undefined : data.join("\n"), startOffset, endOffset });
  }

  function takeData(value: Buffer, cut: boolean): void {
    frame.hasData = true;
    frame.dataBytes += value.length;
    if (cut || frame.dataBytes > MAX_KEPT_BYTES) frame.oversized = true;
    if (frame.oversized) frame.data = [];
    else frame.data.push(value.toString("utf8"));
  }

  function onLine(line: ByteLine): void {
    if (line.bytes.length === 0) return dispatch(line.endOffset);
    const data = valueOf(DATA, line.bytes);
    if (data !== undefined) return takeData(data, line.cut);
    const event = valueOf(EVENT, line.bytes);
    if (event === undefined) return;
    if (frame.hasData) dispatch(line.startOffset);
    frame.event = event.toString("utf8");
  }

  const lines = createByteLines({ maxBytes: MAX_KEPT_BYTES, onLine });

  return {
    push(chunk) {
      received += chunk.length;
      lines.push(chunk);
    },
    end() {
      lines.end();
      dispatch(received);
    },
    openFrameOffset: () => frame.startOffset,
    openFrameEvent: () => frame.event,
  };
}
