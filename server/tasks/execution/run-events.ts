import type { EventBody } from "@guildhall/sdk/contract/event.ts";

/** Events of a run on their way to its stream, in order. */
export type RunEvents = {
  push(event: EventBody): void;
  /** Text of a model step, joined with what waits already. */
  pushText(stepNo: number, text: string): void;
  /**
   * Takes what waits, once nothing is being written: for the caller who writes it before events of its own, in the
   * same transaction.
   */
  take(): Promise<EventBody[]>;
  /** Writes what waits. */
  flush(): Promise<void>;
  close(): void;
};

/**
 * Collects events and writes them at most once per `intervalMs`, so that streamed text never becomes a row per token.
 * `write` is best effort by contract: it must not reject.
 */
export function createRunEvents(options: {
  intervalMs: number;
  write(events: readonly EventBody[]): Promise<void>;
}): RunEvents {
  let waiting: EventBody[] = [];
  let writing: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    writing = writing.then(() => {
      const events = waiting;
      waiting = [];
      return events.length === 0 ? undefined : options.write(events);
    });
    return writing;
  }

  function schedule(): void {
    timer ??= setTimeout(() => void flush(), options.intervalMs);
  }

  return {
    flush,
    push(event) {
      waiting.push(event);
      schedule();
    },
    pushText(stepNo, text) {
      const last = waiting.at(-1);
      if (last?.type === "model.text" && last.data.step === stepNo) last.data.text += text;
      else waiting.push({ type: "model.text", data: { step: stepNo, text } });
      schedule();
    },
    async take() {
      await writing;
      clearTimeout(timer);
      timer = undefined;
      const events = waiting;
      waiting = [];
      return events;
    },
    close: () => clearTimeout(timer),
  };
}
