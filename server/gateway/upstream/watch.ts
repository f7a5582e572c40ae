/** Why the gateway gave up waiting for the provider. */
export type StopReason = "deadline" | "idle" | "shutdown" | "abandoned";

export type Watch = {
  signal: AbortSignal;
  reason(): StopReason | undefined;
  /** Something came from the provider. */
  heard(): void;
  stop(reason: StopReason): void;
  /** While the client is slow, nothing is read, and silence means nothing. */
  pause(): void;
  end(): void;
};

export type WatchOptions = { deadlineMs: number; idleMs: number; shutdown: AbortSignal };

/** Watches one upstream attempt: a deadline for all of it, a limit of silence, and the gateway's own end. */
export function createWatch(options: WatchOptions): Watch {
  const controller = new AbortController();
  let reason: StopReason | undefined;

  function stop(why: StopReason): void {
    if (reason !== undefined) return;
    reason = why;
    controller.abort(new Error(`stopped: ${why}`));
  }

  const onShutdown = (): void => stop("shutdown");
  const deadline = setTimeout(() => stop("deadline"), options.deadlineMs);
  let idle = setTimeout(() => stop("idle"), options.idleMs);
  options.shutdown.addEventListener("abort", onShutdown, { once: true });
  if (options.shutdown.aborted) onShutdown();

  return {
    signal: controller.signal,
    reason: () => reason,
    heard() {
      clearTimeout(idle);
      idle = setTimeout(() => stop("idle"), options.idleMs);
    },
    stop,
    pause: () => clearTimeout(idle),
    end() {
      clearTimeout(deadline);
      clearTimeout(idle);
      options.shutdown.removeEventListener("abort", onShutdown);
    },
  };
}
