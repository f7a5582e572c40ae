import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

/** The response body as a place where faults can happen: bytes are counted and may hit a mark. */
export type Wire = {
  /** Writes bytes; false when nothing more can be written (client gone, or the mark was reached). */
  write(bytes: Buffer): Promise<boolean>;
  /** Waits; false when the client went away meanwhile. */
  wait(ms: number): Promise<boolean>;
  /** True when the client closed before the response was complete. */
  clientClosed(): boolean;
  /** Ends the body in good order. */
  end(): void;
  /** Destroys the socket once what was written has left. */
  destroy(): Promise<void>;
};

/** How the body is to break off: after so many bytes, by a destroyed socket or by an orderly end. */
export type BreakOff = { afterBytes: number; how: "destroy" | "end" };

/** Opens the wire of a response. Listens for the client's close from this moment on. */
export function openWire(res: ServerResponse, breakOff: BreakOff | undefined): Wire {
  const gone = new AbortController();
  let broken = false;
  let sent = 0;
  // The client may have gone while its request was still being read; no event tells it again.
  if (res.destroyed || res.socket?.destroyed === true) gone.abort();
  res.on("close", () => {
    if (!res.writableFinished) gone.abort();
  });
  // A write to a socket that just closed is told by 'close'; the error adds nothing.
  res.on("error", () => gone.abort());

  async function push(bytes: Buffer): Promise<boolean> {
    if (gone.signal.aborted) return false;
    if (res.write(bytes)) return true;
    try {
      await once(res, "drain", { signal: gone.signal });
      return true;
    } catch {
      return false;
    }
  }

  async function destroy(): Promise<void> {
    broken = true;
    if (gone.signal.aborted) return;
    await new Promise<void>((resolve) => {
      res.on("close", resolve);
      res.flushHeaders();
      if (sent === 0) setImmediate(() => res.destroy());
      else res.write("", () => res.destroy());
    });
  }

  async function write(bytes: Buffer): Promise<boolean> {
    if (broken) return false;
    if (breakOff === undefined || sent + bytes.length < breakOff.afterBytes) {
      sent += bytes.length;
      return push(bytes);
    }
    const last = bytes.subarray(0, breakOff.afterBytes - sent);
    if (last.length > 0) await push(last);
    sent += last.length;
    broken = true;
    if (breakOff.how === "end") res.end();
    else await destroy();
    return false;
  }

  async function wait(ms: number): Promise<boolean> {
    if (ms <= 0) return !gone.signal.aborted;
    try {
      await delay(ms, undefined, { signal: gone.signal });
      return true;
    } catch {
      return false;
    }
  }

  return {
    write,
    wait,
    clientClosed: () => gone.signal.aborted && !broken,
    end: () => {
      broken = true;
      res.end();
    },
    destroy,
  };
}
