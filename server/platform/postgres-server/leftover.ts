import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { AppError } from "../errors.ts";
import { asAccount, type PostgresAccount } from "./account.ts";
import { findProcessStartTime } from "../process-identity.ts";
import { hasCode } from "../system-error.ts";

const run = promisify(execFile);

/** Signals to send one after the other, each with the time that the process gets to obey. */
export type StopPlan = readonly { signal: NodeJS.Signals; waitMs: number }[];

/**
 * For the postmaster. A fast shutdown rolls back what is open and writes a checkpoint, a second or two on a
 * slow disk; the next signals lose nothing that was committed either, since Postgres recovers from its log.
 */
export const fastShutdown: StopPlan = [
  { signal: "SIGINT", waitMs: 10_000 },
  { signal: "SIGQUIT", waitMs: 5_000 },
  { signal: "SIGKILL", waitMs: 5_000 },
];

// To a backend SIGINT would mean no more than "cancel the statement".
const backendStop: StopPlan = [
  { signal: "SIGTERM", waitMs: 2_000 },
  { signal: "SIGQUIT", waitMs: 2_000 },
  { signal: "SIGKILL", waitMs: 5_000 },
];

type LeftoverOptions = {
  clusterDir: string;
  account: PostgresAccount | undefined;
  log: (line: { level: "info" | "warn"; msg: string }) => void;
};

/**
 * Stops the Postgres processes that a killed Guildhall left on `clusterDir`, and clears a `postmaster.pid`
 * that would keep a new server from starting. The caller holds the instance lock of the data folder:
 * whatever still runs here has lost its owner.
 */
export async function stopLeftoverPostgres(options: LeftoverOptions): Promise<void> {
  const { clusterDir, log } = options;
  const pidFile = join(clusterDir, "postmaster.pid");
  const text = await readFile(pidFile, "utf8").catch(() => undefined);
  if (text === undefined) return;
  const postmasterPid = Number.parseInt(text, 10);

  const pids = await findServerPids(options, postmasterPid);
  if (pids.includes(postmasterPid)) {
    log({
      level: "warn",
      msg: `stopping Postgres ${postmasterPid}, left over from a killed start`,
    });
    await stopProcess(postmasterPid, fastShutdown);
  }
  // Without a postmaster the others end by themselves, but a busy one only after its statement, and until
  // then a new server would refuse to start or, without the pid file, share the data files with it.
  const backendPids = pids.filter((pid) => pid !== postmasterPid);
  await Promise.all(backendPids.map((pid) => stopProcess(pid, backendStop)));
  // Postgres itself would clear it, except when its pid is in use again, by another program or by its own
  // zombie where pid 1 reaps nothing.
  await rm(pidFile, { force: true });
}

/**
 * Ends a process of ours by the signals of `plan` and returns when it is gone. Fails with code
 * `postgres_left_running` when it outlives the last one or belongs to someone else.
 */
export async function stopProcess(pid: number, plan: StopPlan): Promise<void> {
  const startTime = await findProcessStartTime(pid);
  if (startTime === undefined) return;
  for (const { signal, waitMs } of plan) {
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
    publicMessage: `Postgres process ${pid} still uses the data folder and could not be stopped.`,
    hint: `Stop it with "sudo kill -INT ${pid}", then start again.`,
    cause,
  });
}

// Postgres makes its data folder the working directory of all its processes. Unlike the path in the
// arguments, this also names backends, and still holds after the folder was moved. The program is compared
// too, for a shell may stand in the folder.
const listServersOnLinux = `
for process in /proc/[0-9]*; do
  if [ "$process/cwd" -ef "$1" ]; then
    case "$(readlink "$process/exe")" in
      */postgres | */postgres" (deleted)") echo "\${process#/proc/}" ;;
    esac
  fi
done
:`;

async function findServerPids(options: LeftoverOptions, postmasterPid: number): Promise<number[]> {
  const { clusterDir, account } = options;
  if (process.platform === "linux") {
    // Asked as the user who runs the servers, for root in a container may lack the right (CAP_SYS_PTRACE)
    // to see where the processes of others stand, and would conclude that none is left.
    const args = ["-c", listServersOnLinux, "sh", clusterDir];
    const { stdout } = await run("/bin/sh", args, { cwd: "/", ...asAccount(account) });
    return stdout.split("\n").filter(Boolean).map(Number);
  }
  const args = ["-o", "command=", "-p", String(postmasterPid)];
  const command = (await run("ps", args).catch(() => undefined))?.stdout ?? "";
  return command.includes("postgres") && command.includes(clusterDir) ? [postmasterPid] : [];
}
