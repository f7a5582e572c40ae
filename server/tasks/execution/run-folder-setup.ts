import { readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { eachAtOnce } from "../../platform/at-once.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import { hasCode } from "../../platform/system-error.ts";
import { folderOnDemand } from "../../tools/folder-on-demand.ts";
import { openRunFolder, type KeptFolder, type RunFolder } from "../../tools/run-folder.ts";
import { placeDelegatedFiles } from "../files/delegated-files.ts";
import { OPENED_AT_ONCE, restoreFolder } from "./run-folder-restore.ts";
import type { KeptEntry } from "./run-snapshot.ts";
import type { RunTask, StoredPath } from "./run-task.ts";

export type RunFolderLimits = { maxFileBytes: number; maxTotalBytes: number; maxFiles: number };

/** A run's own disk space, inputs included. */
export const runFolderLimits: RunFolderLimits = {
  maxFileBytes: 200 * 1024 * 1024,
  maxTotalBytes: 1024 * 1024 * 1024,
  maxFiles: 5_000,
};

type RunName = { workspaceId: string; runId: string };
type AttemptName = RunName & { epoch: number };

function parentPath(dataDir: string, { workspaceId, runId }: RunName): string {
  return join(dataDir, "runs", workspaceId, runId);
}

/** Each attempt has a folder of its own: one that lost its lease, and does not know yet, must not write into its successor's. */
export function runFolderPath(dataDir: string, attempt: AttemptName): string {
  return join(parentPath(dataDir, attempt), String(attempt.epoch));
}

/** Puts stored contents where they belong, unless they are there: contents appear whole, so the size tells. */
async function place(
  { folder, files, workspaceId }: { folder: RunFolder; files: FileStore; workspaceId: string },
  wanted: readonly StoredPath[],
): Promise<void> {
  const { entries } = await folder.list();
  const sizes = new Map(entries.map((entry) => [entry.path, entry.sizeBytes]));
  const missing = wanted.filter(({ path, sizeBytes }) => sizes.get(path) !== sizeBytes);
  await eachAtOnce(missing, OPENED_AT_ONCE, async ({ path, sha256 }) => {
    await folder.copyIn(await files.open({ workspaceId, sha256 }), path);
  });
}

/** What lies in the folder before the attempt's first step, inputs apart. A run that has recorded nothing yet begins with what earlier runs of the task wrote. */
function firstState({ snapshot, artifacts }: RunTask): readonly KeptEntry[] {
  return snapshot ?? artifacts.map((file) => ({ ...file, mode: 0o644 }));
}

/** The folder of a run's first attempt when it has no files yet: made when it is wanted. `onMade` is told before. */
export function freshRunFolder(
  dataDir: string,
  attempt: AttemptName,
  onMade: () => void,
): KeptFolder {
  return folderOnDemand(() => {
    onMade();
    return openRunFolder({ root: runFolderPath(dataDir, attempt), limits: runFolderLimits });
  });
}

/**
 * Opens the attempt's folder and makes it exactly what it was after the run's last stored step, on whatever machine that was,
 * with the task's inputs under `input/` and what delegated tasks wrote. What an attempt did after its last stored step
 * is undone: that step runs again.
 */
export async function setUpRunFolder(
  deps: { dataDir: string; files: FileStore },
  attempt: AttemptName & { task: RunTask },
): Promise<KeptFolder> {
  const { workspaceId, task } = attempt;
  const folder = await openRunFolder({
    root: runFolderPath(deps.dataDir, attempt),
    limits: runFolderLimits,
  });
  const inputs = task.inputs.map((file) => ({ ...file, path: `input/${file.path}` }));
  const placing = { folder, files: deps.files, workspaceId };
  await place(placing, inputs);
  await restoreFolder(placing, firstState(task));
  await placeDelegatedFiles(placing, task.delegated);
  return folder;
}

/** Removes the folders of all attempts of a run that is over. */
export async function removeRunFolders(dataDir: string, run: RunName): Promise<void> {
  await rm(parentPath(dataDir, run), { recursive: true, force: true });
}

/** Removes the folder of an attempt that is over; its run may go on, here or elsewhere. */
export async function removeAttemptFolder(dataDir: string, attempt: AttemptName): Promise<void> {
  await rm(runFolderPath(dataDir, attempt), { recursive: true, force: true });
  try {
    await rmdir(parentPath(dataDir, attempt));
  } catch (error) {
    // Another attempt is there, or nothing.
    if (!hasCode(error, "ENOENT", "ENOTEMPTY", "EEXIST")) throw error;
  }
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}

/** The runs that have folders here. */
export async function listRunFolders(dataDir: string): Promise<RunName[]> {
  const root = join(dataDir, "runs");
  const workspaces = (await namesIn(root)).filter((name) => /^ws_[0-9a-z]{1,40}$/.test(name));
  const runs = await Promise.all(
    workspaces.map(async (workspaceId) =>
      (await namesIn(join(root, workspaceId))).map((runId) => ({ workspaceId, runId })),
    ),
  );
  return runs.flat();
}

/** The attempts of a run that have a folder here. */
export async function listAttemptFolders(dataDir: string, run: RunName): Promise<AttemptName[]> {
  const names = await namesIn(parentPath(dataDir, run));
  return names
    .filter((name) => /^[1-9][0-9]{0,9}$/.test(name))
    .map((name) => ({ ...run, epoch: Number(name) }));
}
