import { mkdir, realpath, type FileHandle } from "node:fs/promises";
import type { Readable } from "node:stream";
import { toolError } from "./errors.ts";
import {
  collect,
  parseTarget,
  requireWritable,
  within,
  type FolderAccess,
} from "./folder/access.ts";
import { createKeeping, type FolderKeeping } from "./folder/keeping.ts";
import { detectAnchoring, inspect, openPlainFile, type Anchoring } from "./folder/place.ts";
import {
  requireFileSlot,
  requireRoom,
  showBytes,
  type FolderLimits,
  type FolderTotals,
} from "./folder/quota.ts";
import { isInput } from "./folder/relative-path.ts";
import { storeFile } from "./folder/store.ts";

export type FolderEntry = { path: string; type: "file" | "folder"; sizeBytes: number };
export type OpenFile = { path: string; sizeBytes: number; handle: FileHandle };
export type WrittenFile = { path: string; sizeBytes: number };

/**
 * The folder of one run: the only way to the files of a run for everything that takes a path from a
 * model or a client. Paths are relative with forward slashes; '.' names the folder itself where a
 * folder is meant. Errors are `AppError`s (`path_not_valid`, `path_not_found`, `path_not_allowed`,
 * `path_read_only`, `path_conflict`, `file_too_large`, `folder_full`, `file_not_text`).
 */
export type RunFolder = {
  /** Files and folders below `path` (default: everything), sorted by path; `truncated` above `limit`. */
  list(query?: {
    path?: string | undefined;
    limit?: number | undefined;
    signal?: AbortSignal | undefined;
  }): Promise<{ entries: FolderEntry[]; truncated: boolean }>;
  stat(path: string): Promise<FolderEntry & { modifiedAtMs: number }>;
  /** An open descriptor on a plain file inside the folder. The caller closes `handle`. */
  openForRead(path: string): Promise<OpenFile>;
  /** The whole file as UTF-8 text; `file_too_large` above `maxBytes` (default 1 MB). */
  readText(path: string, maxBytes?: number): Promise<string>;
  /** Replaces or creates the file in one step: a reader sees the old or the new text, never half. */
  writeText(path: string, text: string): Promise<WrittenFile>;
  /** What counts against the limits, measured on disk. */
  totals(): Promise<FolderTotals>;
  /** The files outside `input/`, sorted by path: what the run made. */
  listWritten(): Promise<WrittenFile[]>;
  /**
   * Stores an upload, also below `input/`. Stops reading at the first byte above a limit and leaves
   * nothing behind then. For the platform; agents write by `writeText`.
   */
  copyIn(source: Readable, path: string, options?: { mode?: number }): Promise<WrittenFile>;
};

export type OpenRunFolderOptions = {
  /** Absolute path; created when missing. Whoever can write here outside of this module is trusted to name it. */
  root: string;
  limits: FolderLimits;
  /** How children are addressed; found out from the machine when absent. */
  anchoring?: Anchoring;
  /** Runs between the check of a path and its use, so that a test can swap the file at that point. */
  racePoint?: () => Promise<void>;
};

function sumFiles(entries: readonly FolderEntry[]): FolderTotals {
  const files = entries.filter((entry) => entry.type === "file");
  return { files: files.length, totalBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0) };
}

async function* bytesOf(source: Readable): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
}

/** Runs jobs one after the other: quota checks and writes of one folder must not interleave. */
function createTurns() {
  let last: Promise<unknown> = Promise.resolve();
  return function inTurn<T>(job: () => Promise<T>): Promise<T> {
    const mine = last.then(job, job);
    last = mine.catch(() => undefined);
    return mine;
  };
}

async function openForRead(access: FolderAccess, path: string): Promise<OpenFile> {
  const target = parseTarget(path);
  return within(access, {
    segments: target.parents,
    use: async (place) => {
      const entry = { place, name: target.name, shown: target.path };
      await inspect(entry);
      await access.racePoint?.();
      const { handle, stats } = await openPlainFile(entry);
      return { path: target.path, sizeBytes: stats.size, handle };
    },
  });
}

type Reading = Omit<RunFolder, "writeText" | "copyIn">;

function createReading(access: FolderAccess): Reading {
  return {
    openForRead: (path) => openForRead(access, path),
    totals: async () => sumFiles(await collect(access)),
    async list(query = {}) {
      const entries = (await collect(access, query)).filter((entry) => entry.usable);
      const limit = query.limit ?? Number.POSITIVE_INFINITY;
      return {
        entries: entries
          .slice(0, limit)
          .map(({ path, type, sizeBytes }) => ({ path, type, sizeBytes })),
        truncated: entries.length > limit,
      };
    },
    async stat(path) {
      const target = parseTarget(path);
      return within(access, {
        segments: target.parents,
        use: async (place) => {
          const stats = await inspect({ place, name: target.name, shown: target.path });
          const isFolder = stats.isDirectory();
          return {
            path: target.path,
            type: isFolder ? "folder" : "file",
            sizeBytes: isFolder ? 0 : stats.size,
            modifiedAtMs: Math.round(stats.mtimeMs),
          };
        },
      });
    },
    async readText(path, maxBytes = 1_000_000) {
      const file = await openForRead(access, path);
      await using handle = file.handle;
      if (file.sizeBytes > maxBytes) {
        throw toolError({
          code: "file_too_large",
          publicMessage: `"${path}" has ${showBytes(file.sizeBytes)}; at most ${showBytes(maxBytes)} can be read at once.`,
        });
      }
      return handle.readFile("utf8");
    },
    async listWritten() {
      const entries = await collect(access);
      return entries
        .filter((entry) => entry.type === "file" && entry.usable && !isInput(entry.path.split("/")))
        .map(({ path, sizeBytes }) => ({ path, sizeBytes }));
    },
  };
}

function createWriting(
  access: FolderAccess,
): Pick<RunFolder, "writeText" | "copyIn"> & { forgetTotals(): void } {
  const { limits } = access;
  const inTurn = createTurns();
  /** Uploads arrive before anything else writes, so they may trust the count instead of walking. */
  let knownTotals: FolderTotals | undefined;

  async function store(job: Parameters<typeof storeFile>[1]): Promise<WrittenFile> {
    const stored = await storeFile(access, job);
    knownTotals = stored.totals;
    return { path: job.target.path, sizeBytes: stored.sizeBytes };
  }

  return {
    forgetTotals() {
      knownTotals = undefined;
    },
    async writeText(path, text) {
      const target = parseTarget(path);
      requireWritable(target);
      const bytes = Buffer.from(text, "utf8");
      return inTurn(async () => {
        const entries = await collect(access);
        const totals = sumFiles(entries);
        const old = entries.find((entry) => entry.path === path);
        // Also checked here, before anything is created: a refusal leaves no empty folders behind.
        requireFileSlot({ limits, totals, replaces: old !== undefined, path });
        const replacedBytes = old?.sizeBytes ?? 0;
        requireRoom({ limits, totals, replacedBytes, fileBytes: bytes.byteLength, path });
        return store({ target, totals, chunks: [bytes] });
      });
    },
    async copyIn(source, path, { mode } = {}) {
      // A source that breaks before it is read must fail this call, not the process: reading it rethrows the error.
      source.on("error", () => undefined);
      try {
        const target = parseTarget(path);
        return await inTurn(async () => {
          const totals = knownTotals ?? sumFiles(await collect(access));
          return store({ target, totals, chunks: bytesOf(source), mode });
        });
      } finally {
        source.destroy();
      }
    },
  };
}

/** A run's folder as the platform has it. */
export type KeptFolder = RunFolder & FolderKeeping;

/** Opens (and creates) the folder of a run. */
export async function openRunFolder(options: OpenRunFolderOptions): Promise<KeptFolder> {
  const { root, limits, racePoint, anchoring = detectAnchoring() } = options;
  await mkdir(root, { recursive: true, mode: 0o700 });
  const access = { anchoring, rootRealPath: await realpath(root), limits, racePoint };
  const { forgetTotals, ...writing } = createWriting(access);
  const keeping = createKeeping(access);
  return {
    ...createReading(access),
    ...writing,
    ...keeping,
    async prune(keep) {
      forgetTotals();
      await keeping.prune(keep);
    },
  };
}
