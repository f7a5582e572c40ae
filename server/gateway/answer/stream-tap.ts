import type { AnswerPricing } from "./answer-verdict.ts";
import { createSseParser } from "./sse-parser.ts";
import { createStreamListener, type StreamListener } from "./stream-listener.ts";

export type StreamTap = Pick<StreamListener, "verdict" | "usageRecord" | "thinkingMarks"> & {
  /** Takes bytes from the provider; answers the bytes that may go on to the client now. */
  push(chunk: Buffer): Buffer[];
  /** The provider's stream ended, in whatever way; answers the bytes of frames that are free now. */
  end(): Buffer[];
  /** True once the frame that ends the answer has come. */
  finished(): boolean;
  /** The bytes from the last frame on, kept back until the charge is durable; its blank line is added if it is missing. */
  takeHeld(): Buffer[];
  /** True when the client was given a part of a frame whose end has not come. */
  openFrame(): boolean;
};

/** A frame larger than this goes on in parts; the frame that ends an answer is some 50 bytes. */
const MAX_WITHHELD_BYTES = 16 * 1024;
/** An error event ends the answer, and what it says about the installation must be seen as a whole. */
const MAX_WITHHELD_ERROR_BYTES = 1024 * 1024;

/** Bytes that came and have not gone on yet; offsets count bytes of the whole stream. */
function createWaitingBytes() {
  const parts: Buffer[] = [];
  let gone = 0;
  let received = 0;
  return {
    gone: () => gone,
    received: () => received,
    add(chunk: Buffer) {
      parts.push(chunk);
      received += chunk.length;
    },
    /** Removes and answers what lies before `offset`. */
    take(offset: number): Buffer[] {
      const free: Buffer[] = [];
      for (let first = parts[0]; first !== undefined && gone < offset; first = parts[0]) {
        const size = Math.min(first.length, offset - gone);
        free.push(first.subarray(0, size));
        if (size < first.length) parts[0] = first.subarray(size);
        else parts.shift();
        gone += size;
      }
      return free;
    },
  };
}

/** Listens to a streamed answer while its bytes pass. Frames go on whole and unchanged, the last one only when asked for. */
export function createStreamTap(pricing: AnswerPricing): StreamTap {
  const listener = createStreamListener(pricing);
  const waiting = createWaitingBytes();
  let open = false;
  let withoutEnd = false;
  const parser = createSseParser((frame) => {
    open = false;
    listener.onFrame(frame);
  });

  function takeFree(): Buffer[] {
    const terminal = listener.terminal();
    if (terminal !== undefined) return waiting.take(terminal.startOffset);
    const frameStart = parser.openFrameOffset();
    const withheld = waiting.received() - Math.max(frameStart, waiting.gone());
    const limit =
      parser.openFrameEvent() === "error" ? MAX_WITHHELD_ERROR_BYTES : MAX_WITHHELD_BYTES;
    if (withheld <= limit) return waiting.take(frameStart);
    open = true;
    return waiting.take(waiting.received());
  }

  return {
    ...listener,
    push(chunk) {
      waiting.add(chunk);
      parser.push(chunk);
      return takeFree();
    },
    end() {
      parser.end();
      withoutEnd = listener.terminal() !== undefined;
      return withoutEnd ? takeFree() : [];
    },
    finished: () => listener.terminal() !== undefined,
    takeHeld() {
      const held = waiting.take(waiting.received());
      // Clients do not see a frame without its blank line.
      return withoutEnd ? [...held, Buffer.from("\n\n")] : held;
    },
    openFrame: () => open,
  };
}
