import { randomUUID } from "node:crypto";
import { link, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { makeDataFolder, notWritable } from "./data-folder.ts";
import { AppError, invariant } from "./errors.ts";
import { findProcessStartTime } from "./process-identity.ts";
import { hasCode } from "./system-error.ts";

/** What the lock file says about the process that holds the data folder. */
type Holder = { pid: number; startTime: string; address?: string };

export type InstanceLock = {
  /** Writes the address that this instance serves into the lock, for the message that a second one prints. */
  setAddress(url: string): Promise<void>;
  /** Gives the folder free. A second call does nothing. */
  release(): Promise<void>;
};

// A takeover is a handful of file operations; whoever takes longer than this is stopped in a debugger.
const takeoverPatienceMs = 5_000;

/**
 * Claims `dataDir` for this process, through the file `instance.lock` in it. Fails with code
 * `instance_running` while another live process holds it. A lock whose process is gone is taken over,
 * also when the system has given its pid to another process.
 *
 * Only processes that see each other's pids exclude each other: a folder mounted into two containers at
 * once is not protected.
 */
export async function acquireInstanceLock(dataDir: string): Promise<InstanceLock> {
  const startTime = await findProcessStartTime(process.pid);
  invariant(startTime, "a running process has a start time");
  const path = join(dataDir, "instance.lock");
  const holder: Holder = { pid: process.pid, startTime };
  try {
    await makeDataFolder(dataDir);
    const outcome = await claim({ path, holder, depth: 0 });
    if (outcome.status === "held") throw alreadyRunning(dataDir, outcome.by);
  } catch (cause) {
    throw cause instanceof AppError ? cause : notWritable(dataDir, cause);
  }

  let released = false;
  return {
    setAddress: async (address) => {
      if (released) return;
      const part = await writePart(path, { ...holder, address });
      await rename(part, path);
    },
    release: async () => {
      if (released) return;
      released = true;
      await rm(path, { force: true });
    },
  };
}

type Claim = { status: "claimed" } | { status: "held"; by: Holder };

/**
 * Two processes may find the same stale lock at once. If both just removed it, the slower one would remove
 * the new lock of the faster. So removing needs a lock of its own, `<path>.takeover`, claimed in the same
 * way, since its holder may be killed too. Each level of `depth` takes another kill within those few
 * operations.
 */
async function claim(options: { path: string; holder: Holder; depth: number }): Promise<Claim> {
  const { path, holder, depth } = options;
  invariant(depth < 8, "takeovers do not nest without end");
  const deadline = performance.now() + takeoverPatienceMs;
  const part = await writePart(path, holder);
  try {
    for (;;) {
      if (await linkNew(part, path)) return { status: "claimed" };
      const seen = await readText(path);
      if (seen === undefined) continue;
      const by = await findLiveHolder(seen);
      if (by) return { status: "held", by };

      const takeover = `${path}.takeover`;
      const guard = await claim({ path: takeover, holder, depth: depth + 1 });
      if (guard.status === "claimed") {
        // Between our look and our claim another process may have finished a takeover of its own.
        if ((await readText(path)) === seen) await rm(path, { force: true });
        await rm(takeover, { force: true });
      } else {
        if (performance.now() > deadline) return guard;
        await delay(5);
      }
    }
  } finally {
    await rm(part, { force: true });
  }
}

async function linkNew(part: string, path: string): Promise<boolean> {
  try {
    // A link appears at once and complete, where a file opened with O_EXCL is empty for a moment, in which
    // another process would take it for a broken lock.
    await link(part, path);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

async function writePart(path: string, holder: Holder): Promise<string> {
  const part = `${path}.${process.pid}.${randomUUID()}`;
  const file = await open(part, "wx", 0o644);
  try {
    await file.writeFile(`${JSON.stringify(holder)}\n`);
    // Otherwise a power cut may leave the name without its text.
    await file.sync();
  } finally {
    await file.close();
  }
  return part;
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

async function findLiveHolder(text: string): Promise<Holder | undefined> {
  const holder = parseHolder(text);
  if (!holder) return undefined;
  return (await findProcessStartTime(holder.pid)) === holder.startTime ? holder : undefined;
}

function parseHolder(text: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const { pid, startTime, address } = value as Record<string, unknown>;
    if (typeof pid !== "number" || typeof startTime !== "string") return undefined;
    return { pid, startTime, ...(typeof address === "string" && { address }) };
  } catch {
    // Our own files are complete before they get their name: this one nobody holds.
    return undefined;
  }
}

function alreadyRunning(dataDir: string, by: Holder): AppError {
  const where = by.address ? ` at ${by.address}` : ", which is still starting";
  return new AppError({
    code: "instance_running",
    status: 409,
    publicMessage: `Guildhall already runs on the data folder ${dataDir}: process ${by.pid}${where}.`,
    hint: `Use that one, stop it with "kill ${by.pid}", or choose another data folder with GUILDHALL_DATA_DIR.`,
    extensions: { pid: by.pid, ...(by.address && { address: by.address }) },
  });
}
