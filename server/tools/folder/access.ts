import { toolError } from "../errors.ts";
import { descend, type Anchoring, type Place } from "./place.ts";
import type { FolderLimits } from "./quota.ts";
import { isInput, parseRelativePath } from "./relative-path.ts";
import { walk, type WalkEntry } from "./walk.ts";

/** What every operation on one run's folder needs. */
export type FolderAccess = {
  readonly anchoring: Anchoring;
  readonly rootRealPath: string;
  readonly limits: FolderLimits;
  /** Runs between the check of a path and its use, so that a test can swap the file at that point. */
  readonly racePoint: (() => Promise<void>) | undefined;
};

/** A path whose spelling is allowed: the folders on the way and the last name. */
export type Target = { path: string; parents: readonly string[]; name: string };

export function parseTarget(raw: string): Target {
  const parsed = parseRelativePath(raw);
  const name = parsed.ok ? parsed.segments.at(-1) : undefined;
  if (!parsed.ok || name === undefined) {
    const reason = parsed.ok ? "it is empty" : parsed.reason;
    throw toolError({
      code: "path_not_valid",
      publicMessage: `The path ${JSON.stringify(raw.slice(0, 200))} cannot be used: ${reason}.`,
    });
  }
  return { path: parsed.path, parents: parsed.segments.slice(0, -1), name };
}

export function requireWritable(target: Target): void {
  if (!isInput([...target.parents, target.name])) return;
  throw toolError({
    code: "path_read_only",
    publicMessage: `"${target.path}" cannot be written: "input" holds the user's files and is read-only.`,
    hint: 'Write next to it, for example "report.md".',
  });
}

/** Opens the folder named by `segments` for the time of `use`. */
export async function within<T>(
  access: FolderAccess,
  visit: {
    segments: readonly string[];
    create?: boolean;
    use: (place: Place) => Promise<T>;
  },
): Promise<T> {
  const { anchoring, rootRealPath } = access;
  const { segments, create = false, use } = visit;
  const place = await descend({ anchoring, rootRealPath, segments, create });
  try {
    return await use(place);
  } finally {
    await place.close();
  }
}

/** Everything below `path` ('.' or nothing: the root), sorted by path. */
export async function collect(
  access: FolderAccess,
  query: { path?: string | undefined; signal?: AbortSignal | undefined } = {},
): Promise<WalkEntry[]> {
  const prefix = query.path === undefined || query.path === "." ? "" : query.path;
  const target = prefix === "" ? undefined : parseTarget(prefix);
  const segments = target === undefined ? [] : [...target.parents, target.name];
  const { anchoring } = access;
  return within(access, {
    segments,
    use: async (place) => {
      const found = await Array.fromAsync(walk({ anchoring, place, prefix, signal: query.signal }));
      return found.toSorted((a, b) => (a.path < b.path ? -1 : 1));
    },
  });
}
