import type { Dispatcher } from "undici";

/** The bytes of an answer as they come. */
export type AnswerBody = {
  /** All that has come since the last call, or comes next; undefined at the end. Rejects when the connection broke. */
  next(): Promise<Buffer | undefined>;
  /**
   * Nothing more is wanted: the rest, which is normally nothing, is read away, and the connection given up when that has no
   * end.
   */
  letGo(): void;
};

/** The side of the connection. */
export type AnswerSource = {
  body: AnswerBody;
  push(chunk: Buffer): void;
  end(): void;
  fail(error: Error): void;
};

/** While more than this waits for a slow reader, no more is read from the provider. */
const MOST_WAITING_BYTES = 64 * 1024;
/** How long the provider may take to close a stream whose last frame has come, so that the connection is used again. */
const CLOSING_MS = 1_000;

/**
 * Hands an answer's bytes from undici to one reader. A Readable with its iterator does the same and costs a short answer
 * more than all else that the gateway does with it.
 */
export function createAnswerSource(controller: Dispatcher.DispatchController): AnswerSource {
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let over: { error?: Error } | undefined;
  let wanted = true;
  let closing: NodeJS.Timeout | undefined;
  let told: (() => void) | undefined;

  function take(): Buffer | undefined {
    const taken = waiting.length > 1 ? Buffer.concat(waiting, waitingBytes) : waiting[0];
    waiting = [];
    waitingBytes = 0;
    controller.resume();
    return taken;
  }

  function tell(): void {
    told?.();
    told = undefined;
  }

  function finish(error?: Error): void {
    if (over !== undefined) return;
    over = error === undefined ? {} : { error };
    clearTimeout(closing);
    tell();
  }

  return {
    body: {
      async next() {
        // Who waits takes all of what one read of the connection brought, not only the first piece of it.
        if (waiting.length === 0 && over === undefined)
          await new Promise<void>((resolve) => {
            told = resolve;
          });
        if (waiting.length === 0 && over?.error !== undefined) throw over.error;
        return take();
      },
      letGo() {
        wanted = false;
        take();
        if (over !== undefined) return;
        closing = setTimeout(() => {
          controller.abort(new Error("the provider did not end its answer"));
        }, CLOSING_MS);
        closing.unref();
      },
    },
    push(chunk) {
      if (!wanted) return;
      waiting.push(chunk);
      waitingBytes += chunk.length;
      if (waitingBytes > MOST_WAITING_BYTES) controller.pause();
      tell();
    },
    end: () => finish(),
    fail: (error) => finish(error),
  };
}
