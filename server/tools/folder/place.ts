import { constants, existsSync, type Stats } from "node:fs";
import { lstat, mkdir, open, readlink, realpath, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { systemCode, toolError } from "../errors.ts";

/**
 * A folder that was reached without following any link.
 *
 * On Linux the folder is held open and its children are addressed as `/proc/self/fd/<n>/<name>`,
 * which the kernel resolves from the open folder itself (what `openat` does, which Node lacks).
 * Whatever happens to the path meanwhile, a child is a child of the folder that was checked.
 * Elsewhere children are addressed by path, and what was opened is compared with what lies there.
 */
export type Place = {
  /** Where the folder must be on disk. For checks, never for opening. */
  readonly realPath: string;
  /** The path by which the folder itself is opened or listed. */
  readonly address: string;
  /** The path by which an entry of the folder is opened, created or renamed. */
  child(name: string): string;
  close(): Promise<void>;
};

export type Anchoring = "descriptor" | "path";

export function detectAnchoring(): Anchoring {
  return existsSync("/proc/self/fd") ? "descriptor" : "path";
}

/** `shown` is the path as the caller wrote it, for messages. */
export type PlaceRequest = {
  anchoring: Anchoring;
  address: string;
  realPath: string;
  shown: string;
};

/** The error for an entry that something else swapped, moved or deleted during its use. */
export function changed(shown: string, cause?: unknown) {
  return toolError({
    code: "path_not_allowed",
    publicMessage: `"${shown}" was replaced or moved while it was being used.`,
    hint: "Try again.",
    cause,
  });
}

function notFound(shown: string, cause: unknown) {
  return toolError({
    code: "path_not_found",
    publicMessage: `There is no "${shown}" in the folder.`,
    hint: "list_files shows what is there.",
    cause,
  });
}

/** Why an entry of this kind is not opened, or undefined for a plain file or a folder. */
export function refusedKind(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return "a symbolic link";
  if (stats.isFIFO()) return "a named pipe";
  if (stats.isSocket()) return "a socket";
  if (stats.isBlockDevice() || stats.isCharacterDevice()) return "a device";
  if (stats.isFile() && stats.nlink > 1) return "a file with several names (hard links)";
  return undefined;
}

export function requireAllowedKind(stats: Stats, shown: string): void {
  const kind = refusedKind(stats);
  if (kind === undefined) return;
  throw toolError({
    code: "path_not_allowed",
    publicMessage: `"${shown}" is ${kind}. Only plain files and folders inside the folder can be used.`,
  });
}

async function lookAt(address: string, shown: string): Promise<Stats> {
  try {
    return await lstat(address);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") throw notFound(shown, error);
    throw error;
  }
}

async function enterByDescriptor(request: PlaceRequest): Promise<Place> {
  let handle: FileHandle;
  try {
    handle = await open(
      request.address,
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
    );
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") throw notFound(request.shown, error);
    // The kinds were checked a moment ago, so this is an entry that was swapped since.
    if (code === "ELOOP" || code === "ENOTDIR") throw changed(request.shown, error);
    throw error;
  }
  const address = `/proc/self/fd/${handle.fd}`;
  if ((await readlink(address)) !== request.realPath) {
    await handle.close();
    throw changed(request.shown);
  }
  return {
    realPath: request.realPath,
    address,
    child: (name) => `${address}/${name}`,
    close: () => handle.close(),
  };
}

async function enterByPath(request: PlaceRequest): Promise<Place> {
  if ((await realpath(request.address)) !== request.realPath) throw changed(request.shown);
  return {
    realPath: request.realPath,
    address: request.realPath,
    child: (name) => join(request.realPath, name),
    close: () => Promise.resolve(),
  };
}

/** Opens one folder. Refuses links and everything that is not a folder. */
export async function enter(request: PlaceRequest): Promise<Place> {
  const stats = await lookAt(request.address, request.shown);
  requireAllowedKind(stats, request.shown);
  if (!stats.isDirectory()) {
    throw toolError({
      code: "path_conflict",
      publicMessage: `"${request.shown}" is a file, not a folder.`,
    });
  }
  return request.anchoring === "descriptor" ? enterByDescriptor(request) : enterByPath(request);
}

async function createFolder(address: string): Promise<void> {
  try {
    await mkdir(address);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}

/**
 * Walks from the root to the folder named by `segments`, one part at a time, so that no link on
 * the way can lead elsewhere. With `create`, missing folders are made. The caller closes the place.
 */
export async function descend(walk: {
  anchoring: Anchoring;
  rootRealPath: string;
  segments: readonly string[];
  create: boolean;
}): Promise<Place> {
  const { anchoring, rootRealPath, segments, create } = walk;
  let place = await enter({ anchoring, address: rootRealPath, realPath: rootRealPath, shown: "." });
  for (const [index, name] of segments.entries()) {
    const parent = place;
    try {
      if (create) await createFolder(parent.child(name));
      place = await enter({
        anchoring,
        address: parent.child(name),
        realPath: join(parent.realPath, name),
        shown: segments.slice(0, index + 1).join("/"),
      });
    } finally {
      await parent.close();
    }
  }
  return place;
}

/** Looks at an entry without following it: a plain file or a folder, anything else is refused. */
export async function inspect(entry: {
  place: Place;
  name: string;
  shown: string;
}): Promise<Stats> {
  const stats = await lookAt(entry.place.child(entry.name), entry.shown);
  requireAllowedKind(stats, entry.shown);
  return stats;
}

/** Like `inspect`, but undefined when nothing lies there. */
export async function inspectIfPresent(entry: {
  place: Place;
  name: string;
  shown: string;
}): Promise<Stats | undefined> {
  try {
    const stats = await lstat(entry.place.child(entry.name));
    requireAllowedKind(stats, entry.shown);
    return stats;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function requireSameFile(
  entry: { place: Place; name: string; shown: string },
  handle: FileHandle,
) {
  const expected = join(entry.place.realPath, entry.name);
  if (entry.place.address.startsWith("/proc/self/fd/")) {
    if ((await readlink(`/proc/self/fd/${handle.fd}`)) !== expected) throw changed(entry.shown);
    return;
  }
  const opened = await handle.stat();
  const there = await lstat(expected);
  const sameFile = opened.dev === there.dev && opened.ino === there.ino;
  if (!sameFile || (await realpath(expected)) !== expected) throw changed(entry.shown);
}

/**
 * Opens a plain file for reading. What counts is checked on the open descriptor, so a file swapped
 * between `inspect` and here is noticed. `O_NONBLOCK`: opening a swapped-in pipe must not hang.
 */
export async function openPlainFile(entry: {
  place: Place;
  name: string;
  shown: string;
}): Promise<{ handle: FileHandle; stats: Stats }> {
  let handle: FileHandle;
  try {
    handle = await open(
      entry.place.child(entry.name),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") throw notFound(entry.shown, error);
    if (code === "ELOOP" || code === "ENXIO") throw changed(entry.shown, error);
    throw error;
  }
  try {
    const stats = await handle.stat();
    requireAllowedKind(stats, entry.shown);
    if (!stats.isFile()) {
      throw toolError({
        code: "path_conflict",
        publicMessage: `"${entry.shown}" is a folder, not a file.`,
        hint: "list_files shows the files in it.",
      });
    }
    await requireSameFile(entry, handle);
    return { handle, stats };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
