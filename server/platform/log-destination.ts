import { write, writeSync } from "node:fs";
import { hasCode } from "./system-error.ts";

/** Where log lines go. */
export type LogDestination = {
  write(line: string): void;
  /** Writes what is still here, as far as it finds room; for the end of the process. */
  flushSync(): void;
  /** Lines that found no room. */
  lost(): number;
};

const MOST_KEPT = 1_000_000;
const BUSY_MS = 100;

/**
 * Writes to a descriptor without holding anybody up. When its disk is full or its reader has gone, the process goes on:
 * a megabyte is kept and tried again with the next line, the lines beyond it are lost and counted. pino's own
 * destination ends the process by an error that nobody hears, and waits for ever for room when a process exits.
 */
export function createLogDestination(fd: number): LogDestination {
  let lines = "";
  /** Of the lines before those, what was not taken yet. */
  let rest: Buffer = Buffer.alloc(0);
  let busy = false;
  let lost = 0;

  function take(): Buffer {
    if (rest.length > 0) return rest;
    rest = Buffer.from(lines);
    lines = "";
    return rest;
  }

  function pump(): void {
    if (busy) return;
    const bytes = take();
    if (bytes.length === 0) return;
    busy = true;
    write(fd, bytes, (error, count) => {
      busy = false;
      if (error === null) {
        rest = bytes.subarray(count);
        pump();
      } else if (hasCode(error, "EAGAIN", "EBUSY")) setTimeout(pump, BUSY_MS);
    });
  }

  return {
    write(line) {
      if (rest.length + lines.length + line.length > MOST_KEPT) lost += 1;
      else lines += line;
      pump();
    },
    flushSync() {
      // What is under way is taken as written.
      if (busy) rest = Buffer.alloc(0);
      try {
        for (let bytes = take(); bytes.length > 0; bytes = take())
          rest = bytes.subarray(writeSync(fd, bytes));
      } catch {
        // There is no later in which it could be tried again.
      }
    },
    lost: () => lost,
  };
}

let standardError: LogDestination | undefined;

/** Standard error, one for the process: all its loggers stand in one line. */
export function standardErrorLog(): LogDestination {
  if (standardError) return standardError;
  standardError = createLogDestination(2);
  process.once("exit", standardError.flushSync);
  return standardError;
}
