import { readdir, lstat } from "node:fs/promises";
import { join } from "node:path";
import type { Stats } from "node:fs";
import { AppError } from "../../platform/errors.ts";
import { systemCode } from "../errors.ts";
import { enter, refusedKind, type Anchoring, type Place } from "./place.ts";
import { parseRelativePath } from "./relative-path.ts";

export type WalkEntry = {
  /** Relative to the root of the folder. */
  path: string;
  type: "file" | "folder";
  sizeBytes: number;
  /** False for what takes space but cannot be opened: hard links, odd or unfinished names. */
  usable: boolean;
  stats: Stats;
};

async function lookIfStillThere(address: string): Promise<Stats | undefined> {
  try {
    return await lstat(address);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function enterIfStillThere(request: Parameters<typeof enter>[0]): Promise<Place | undefined> {
  try {
    return await enter(request);
  } catch (error) {
    // Something else may delete or replace a folder between the listing and here.
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

/**
 * Every file and folder below `place`, in no particular order. Links, pipes, sockets and devices are
 * passed over and never followed.
 */
export async function* walk(start: {
  anchoring: Anchoring;
  place: Place;
  /** Path of `place` relative to the root, '' for the root. */
  prefix: string;
  signal?: AbortSignal | undefined;
  /** Leaves out a path and all below it. */
  skip?: ((path: string) => boolean) | undefined;
}): AsyncGenerator<WalkEntry> {
  const { anchoring, place, prefix, signal, skip } = start;
  for (const name of await readdir(place.address)) {
    signal?.throwIfAborted();
    const path = prefix === "" ? name : `${prefix}/${name}`;
    if (skip?.(path) === true) continue;
    const stats = await lookIfStillThere(place.child(name));
    if (stats === undefined) continue;
    const usable = parseRelativePath(path).ok && refusedKind(stats) === undefined;
    if (stats.isFile()) {
      yield { path, type: "file", sizeBytes: stats.size, usable, stats };
      continue;
    }
    if (!stats.isDirectory()) continue;
    yield { path, type: "folder", sizeBytes: 0, usable, stats };
    const child = await enterIfStillThere({
      anchoring,
      address: place.child(name),
      realPath: join(place.realPath, name),
      shown: path,
    });
    if (child === undefined) continue;
    try {
      yield* walk({ anchoring, place: child, prefix: path, signal, skip });
    } finally {
      await child.close();
    }
  }
}
