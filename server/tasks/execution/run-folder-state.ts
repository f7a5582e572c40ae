import { dirname } from "node:path";
import { AppError } from "../../platform/errors.ts";
import type { StoredFile } from "../../platform/file-store/contents.ts";
import type { FileStore, StagedFile } from "../../platform/file-store/file-store.ts";
import type { SurveyEntry } from "../../tools/folder/keeping.ts";
import type { KeptFolder } from "../../tools/run-folder.ts";
import { hashOf, restoreFolder } from "./run-folder-restore.ts";
import type { KeptEntry, SnapshotChange } from "./run-snapshot.ts";

type State = ReadonlyMap<string, KeptEntry>;

/** The folder at one moment; its contents are in the store. */
export type Captured = SnapshotChange & { state: State };

export type FolderState = {
  /** Stores what is new in the folder, all of it or nothing, and tells what changed since the recorded state. */
  capture(): Promise<Captured>;
  /** The captured state is recorded with a step. */
  recorded(captured: Captured): void;
  /** Makes the folder again what it was when it was captured last. */
  rollBack(): Promise<void>;
};

/** Ticks of a disk's clock are shorter than this: a file may have changed again within the one that its stamp tells. */
const TICK_MS = 100;

function emptyFolders(entries: readonly SurveyEntry[]): KeptEntry[] {
  const filled = new Set(entries.map(({ path }) => dirname(path)));
  return entries
    .filter(({ path, type }) => type === "folder" && !filled.has(path))
    .map(({ path }) => ({ path, sha256: null, sizeBytes: 0, mode: 0o755 }));
}

function isSame(a: KeptEntry | undefined, b: KeptEntry): boolean {
  return a?.sha256 === b.sha256 && a.mode === b.mode;
}

function changeOf(recorded: State, state: State): SnapshotChange {
  return {
    changed: [...state.values()].filter((entry) => !isSame(recorded.get(entry.path), entry)),
    removed: [...recorded.keys()].filter((path) => !state.has(path)),
  };
}

/**
 * Knows the state of one run's folder that is stored with its steps. Finding out whether anything changed looks at every
 * file but reads only those whose stamp is another one, and sends only contents that the workspace has not stored.
 */
export function createFolderState(options: {
  folder: KeptFolder;
  files: FileStore;
  workspaceId: string;
  maxFileBytes: number;
  /** What is recorded already. */
  recorded: readonly KeptEntry[];
  /** Milliseconds since 1970 by the clock that files are stamped by. */
  nowMs?: () => number;
}): FolderState {
  const { folder, files, workspaceId, maxFileBytes, nowMs = Date.now } = options;
  let recorded: State = new Map(options.recorded.map((entry) => [entry.path, entry]));
  let good = recorded;
  /** Stamp -> SHA-256 of the files that were read, by path. */
  const seen = new Map<string, { stamp: string; sha256: string }>();

  async function stage(path: string): Promise<StagedFile> {
    const { handle } = await folder.openForRead(path);
    await using opened = handle;
    const stream = opened.createReadStream({ autoClose: false });
    // Awaited here, for the file is closed when this function is left.
    return await files.stage({ stream, maxBytes: maxFileBytes });
  }

  /** The content of a file; one that may be new is added to `staged`. */
  async function contentOf(
    { path, sizeBytes, stamp }: SurveyEntry,
    staged: StagedFile[],
  ): Promise<StoredFile> {
    const before = seen.get(path);
    if (before?.stamp === stamp) return { sha256: before.sha256, sizeBytes };
    const known = good.get(path);
    if (known?.sizeBytes === sizeBytes) {
      const sha256 = await hashOf(folder, path);
      if (sha256 === known.sha256) return { sha256, sizeBytes };
    }
    const file = await stage(path);
    staged.push(file);
    return file;
  }

  async function readState(entries: readonly SurveyEntry[], staged: StagedFile[]): Promise<State> {
    const beganAtMs = nowMs();
    const state = new Map(emptyFolders(entries).map((entry) => [entry.path, entry]));
    for (const entry of entries) {
      if (entry.type === "folder") continue;
      const { path, mode, stamp } = entry;
      try {
        const { sha256, sizeBytes } = await contentOf(entry, staged);
        if (entry.changedAtMs < beganAtMs - TICK_MS) seen.set(path, { stamp, sha256 });
        state.set(path, { path, sha256, sizeBytes, mode });
      } catch (error) {
        // Gone since the survey: the next one tells.
        if (!(error instanceof AppError) || error.code !== "path_not_found") throw error;
      }
    }
    return state;
  }

  return {
    async capture() {
      const staged: StagedFile[] = [];
      try {
        const state = await readState(await folder.survey(), staged);
        if (staged.length > 0) await files.keep(workspaceId, staged);
        good = state;
        return { state, ...changeOf(recorded, state) };
      } finally {
        await Promise.all(staged.map((file) => file.discard()));
      }
    },
    recorded(captured) {
      recorded = captured.state;
    },
    rollBack: () => restoreFolder({ folder, files, workspaceId }, [...good.values()]),
  };
}
