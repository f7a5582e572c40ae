/** One line of a byte stream, without its end. Offsets count bytes of the whole stream. */
export type ByteLine = {
  bytes: Buffer;
  startOffset: number;
  /** Where the next line starts. */
  endOffset: number;
  /** True when the line was longer than is kept; `bytes` is then its beginning. */
  cut: boolean;
};

export type ByteLines = {
  push(chunk: Buffer): void;
  /** The end of the stream ends a last line that has no line end. */
  end(): void;
};

const LF = 10;
const CR = 13;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** Cuts bytes into lines at LF, CR and CRLF, however the chunks fall; keeps at most `maxBytes` of a line. */
export function createByteLines(options: {
  maxBytes: number;
  onLine(line: ByteLine): void;
}): ByteLines {
  let offset = 0;
  let afterReturn = false;
  let first = true;
  let parts: Buffer[] = [];
  let length = 0;
  let startOffset = 0;

  function add(part: Buffer): void {
    if (part.length === 0) return;
    const room = options.maxBytes - length;
    if (room > 0) parts.push(part.length <= room ? part : part.subarray(0, room));
    length += part.length;
  }

  function finish(endOffset: number): void {
    const whole = parts.length === 1 ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts);
    const marked = first && whole.subarray(0, 3).equals(BYTE_ORDER_MARK);
    const line: ByteLine = {
      bytes: marked ? whole.subarray(3) : whole,
      startOffset,
      endOffset,
      cut: length > options.maxBytes,
    };
    first = false;
    parts = [];
    length = 0;
    startOffset = endOffset;
    options.onLine(line);
  }

  return {
    push(chunk) {
      let start = 0;
      // The line feed of a CRLF that fell between two chunks belongs to the line that has ended.
      if (afterReturn && chunk[0] === LF) {
        start = 1;
        startOffset = offset + 1;
      }
      if (chunk.length > 0) afterReturn = false;
      for (let index = start; index < chunk.length; index++) {
        const byte = chunk[index];
        if (byte !== LF && byte !== CR) continue;
        add(chunk.subarray(start, index));
        if (byte === CR && chunk[index + 1] === LF) index += 1;
        else if (byte === CR && index + 1 === chunk.length) afterReturn = true;
        start = index + 1;
        finish(offset + start);
      }
      add(chunk.subarray(start));
      offset += chunk.length;
    },
    end() {
      if (length > 0) finish(offset);
    },
  };
}
