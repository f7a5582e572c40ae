import { execFile } from "node:child_process";
import { readdir, readFile, readlink, realpath, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { AppError } from "./errors.ts";
import { findProcessStartTime } from "./process-identity.ts";
import { hasCode } from "./system-error.ts";

const run = promisify(execFile);

// A fast shutdown writes a checkpoint, a second or two on a slow disk; the next signal loses nothing, since
// Postgres recovers from its log.
const patienceMs: readonly [NodeJS.Signals, number][] = [
  ["SIGINT", 10_000],
  ["SIGQUIT", 5_000],
  ["SIGKILL", 5_000],
];

/**
 * Stops the Postgres processes that a killed Guildhall left on `clusterDir`, and clears a `postmaster.pid`
 * whose process id meanwhile names something else. The caller holds the instance lock of the data folder:
 * whatever still runs here has lost its owner.
 */
export async function stopLeftoverPostgres(
  clusterDir: string,
  log: (line: { level: "info" | "warn"; msg: string }) => void,
): Promise<void> {
  const pidFile = join(clusterDir, "postmaster.pid");
  const text = await readFile(pidFile, "utf8").catch(() => undefined);
  if (text === undefined) return;
  const postmasterPid = Number.parseInt(text, 10);

  const pids = await findServerPids(await realpath(clusterDir), postmasterPid);
  if (pids.includes(postmasterPid)) {
    log({
      level: "warn",
      msg: `stopping Postgres ${postmasterPid}, left running by an earlier start that was killed`,
    });
    await stopPostgres(postmasterPid);
  } else if (await findProcessStartTime(postmasterPid)) {
    // Postgres itself removes a stale file, except when the id is in use again by the same user.
    log({
      level: "warn",
      msg: `removing a stale postmaster.pid: process ${postmasterPid} is not this Postgres`,
    });
    await rm(pidFile, { force: true });
  }
  // Without their postmaster the other processes end by themselves, but a busy one only after its statement,
  // and until then a new server would refuse to start or, worse, share the data files with it.
  for (const pid of pids) if (pid !== postmasterPid) await stopPostgres(pid);
}

/**
 * Ends one server process orderly (fast shutdown) and returns when it is gone; harder signals follow when
 * it does not go.
 */
export async function stopPostgres(pid: number): Promise<void> {
  const startTime = await findProcessStartTime(pid);
  if (startTime === undefined) return;
  for (const [signal, waitMs] of patienceMs) {
    try {
      process.kill(pid, signal);
    } catch (cause) {
      if (hasCode(cause, "ESRCH")) return;
      throw notStopped(pid, cause);
    }
    const deadline = performance.now() + waitMs;
    while (performance.now() < deadline) {
      if ((await findProcessStartTime(pid)) !== startTime) return;
      await delay(5);
    }
  }
  throw notStopped(pid, undefined);
}

function notStopped(pid: number, cause: unknown): AppError {
  return new AppError({
    code: "postgres_left_running",
    status: 500,
    publicMessage: `Postgres process ${pid} of an earlier start still uses the data folder and could not be stopped.`,
    hint: `Stop it with "sudo kill -INT ${pid}", then start again.`,
    cause,
  });
}

async function findServerPids(clusterDir: string, postmasterPid: number): Promise<number[]> {
  if (process.platform === "linux") {
    const names = await readdir("/proc");
    const pids = names.map(Number).filter((pid) => Number.isSafeInteger(pid));
    const found = await Promise.all(pids.map((pid) => servesOnLinux(pid, clusterDir)));
    return pids.filter((_, index) => found[index]);
  }
  const listed = await run("ps", ["-o", "command=", "-p", String(postmasterPid)]).catch(
    () => undefined,
  );
  return listed?.stdout.includes("postgres") && listed.stdout.includes(clusterDir)
    ? [postmasterPid]
    : [];
}

// Postgres makes its data folder the working directory of all its processes; unlike the path in its
// arguments this still holds after the folder was moved.
async function servesOnLinux(pid: number, clusterDir: string): Promise<boolean> {
  try {
    const [cwd, program] = await Promise.all([
      readlink(`/proc/${pid}/cwd`),
      readlink(`/proc/${pid}/exe`),
    ]);
    return cwd === clusterDir && basename(program.replace(/ \(deleted\)$/, "")) === "postgres";
  } catch {
    return false;
  }
}
