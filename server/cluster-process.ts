import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseLauncherMessage, type ReadyProcess } from "./launcher-messages.ts";
import { AppError } from "./platform/errors.ts";
import type { Logger } from "./platform/log.ts";
import type { Role } from "./roles.ts";

export type SlotOptions = {
  role: Role;
  /** For people and the log, such as `worker-2`. */
  name: string;
  env: NodeJS.ProcessEnv;
  /** It may be sent requests. */
  onReady(process: ReadyProcess): void;
  /** It must be sent no more requests: it drains or has ended. May be told twice. */
  onDraining(process: ReadyProcess): void;
  /** It has ended and can do nothing any more. */
  onEnded(process: ReadyProcess): void;
  /** How long it may take to end after SIGTERM. */
  stopWithinMs: number;
  log: Logger;
};

/** The place of one process in a cluster: it is started again whenever it ends by itself. */
export type Slot = {
  /** Starts the first process. Rejects when that ends before it is ready. */
  start(): Promise<void>;
  /** Starts another process, and ends the present one when that is ready. Rejects when it does not become ready. */
  replace(): Promise<void>;
  stop(): Promise<void>;
  kill(): void;
};

type Running = {
  child: ChildProcess;
  /** Rejects when it ends before. */
  ready: Promise<ReadyProcess>;
  ended: Promise<unknown>;
};

const PROGRAM = join(import.meta.dirname, "bin.ts");
const BACKOFF_MS = { least: 200, most: 10_000 };
/** Who lived for so long did not die of its start. */
const STEADY_MS = 10_000;

function launch(options: SlotOptions): Running {
  const { role, name, env, log } = options;
  const child = spawn(process.execPath, [PROGRAM, "start", "--role", role], {
    env,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // Ctrl-C goes to the launcher alone, which ends everything in order.
    detached: true,
  });
  const { promise: ready, resolve, reject } = Promise.withResolvers<ReadyProcess>();
  let reached: ReadyProcess | undefined;
  child.on("message", (message) => {
    const told = parseLauncherMessage(message);
    if (told?.type === "ready") {
      reached = told;
      options.onReady(told);
      resolve(told);
    } else if (told?.type === "draining" && reached) options.onDraining(reached);
  });
  const ended = once(child, "close").then(([code, signal]) => {
    log.info({ process: name, pid: child.pid, code, signal }, "a process of the cluster has ended");
    if (reached) {
      options.onDraining(reached);
      options.onEnded(reached);
    }
    reject(
      new AppError({
        code: "process_not_started",
        status: 500,
        publicMessage: `The process ${name} has ended before it was ready.`,
        hint: "What was wrong is said above.",
      }),
    );
  });
  // Whoever waits for it hears of it.
  ready.catch(() => undefined);
  return { child, ready, ended };
}

async function end({ child, ended }: Running, withinMs: number): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), withinMs);
  await ended;
  clearTimeout(timer);
}

export function createSlot(options: SlotOptions): Slot {
  const stopping = new AbortController();
  let current: Running | undefined;
  let backoffMs = BACKOFF_MS.least;

  /** Keeps the place filled from here on. */
  function watch(running: Running): void {
    const sinceMs = performance.now();
    current = running;
    void running.ended.then(async () => {
      // Replaced, or wanted no more.
      if (current !== running || stopping.signal.aborted) return;
      if (performance.now() - sinceMs > STEADY_MS) backoffMs = BACKOFF_MS.least;
      options.log.warn({ process: options.name }, "a process of the cluster is started again");
      await delay(backoffMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      backoffMs = Math.min(backoffMs * 2, BACKOFF_MS.most);
      if (!stopping.signal.aborted && current === running) watch(launch(options));
    });
  }

  return {
    async start() {
      const first = launch(options);
      current = first;
      await first.ready;
      watch(first);
    },
    async replace() {
      const before = current;
      const next = launch(options);
      try {
        await next.ready;
      } catch (error) {
        next.child.kill("SIGKILL");
        throw error;
      }
      if (stopping.signal.aborted) return end(next, options.stopWithinMs);
      watch(next);
      if (before) await end(before, options.stopWithinMs);
    },
    async stop() {
      stopping.abort();
      if (current) await end(current, options.stopWithinMs);
    },
    kill: () => void current?.child.kill("SIGKILL"),
  };
}
