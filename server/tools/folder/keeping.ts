import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { within, type FolderAccess } from "./access.ts";
import { enter, type Place } from "./place.ts";
import { inputFolderName } from "./relative-path.ts";
import { walk } from "./walk.ts";

/** What lies in the folder outside of `input/`, as the disk has it. */
export type SurveyEntry = {
  path: string;
  type: "file" | "folder";
  sizeBytes: number;
  /** Permission bits, 0 to 0o777. */
  mode: number;
  /** Another one as soon as the file is another file or was written to. Not within the same tick of the disk's clock. */
  stamp: string;
  /** When it last changed, by the disk's clock; milliseconds since 1970. */
  changedAtMs: number;
};

/** For the platform, which keeps folders from one step to the next; agents have no such power. */
export type FolderKeeping = {
  /** Plain files and folders outside of `input/`, in no particular order; what cannot be opened is passed over. */
  survey(): Promise<SurveyEntry[]>;
  /** Removes everything outside of `input/` but these files and folders, which were surveyed, and the folders on their way. */
  prune(keep: ReadonlySet<string>): Promise<void>;
  /** Makes an empty folder where there is none. */
  makeFolder(path: string): Promise<void>;
};

const isInputFolder = (path: string): boolean => path.toLowerCase() === inputFolderName;

async function survey(access: FolderAccess): Promise<SurveyEntry[]> {
  const { anchoring } = access;
  return within(access, {
    segments: [],
    use: async (place) => {
      const entries: SurveyEntry[] = [];
      for await (const entry of walk({ anchoring, place, prefix: "", skip: isInputFolder })) {
        const { path, type, sizeBytes, usable, stats } = entry;
        if (!usable) continue;
        const stamp = `${stats.ino}/${stats.size}/${stats.mtimeMs}/${stats.ctimeMs}`;
        const mode = stats.mode & 0o777;
        entries.push({ path, type, sizeBytes, mode, stamp, changedAtMs: stats.ctimeMs });
      }
      return entries;
    },
  });
}

type Pruning = { access: FolderAccess; keep: ReadonlySet<string>; onTheWay: ReadonlySet<string> };

async function pruneBelow(place: Place, prefix: string, pruning: Pruning): Promise<void> {
  const { access, keep, onTheWay } = pruning;
  for (const name of await readdir(place.address)) {
    const path = prefix === "" ? name : `${prefix}/${name}`;
    if (prefix === "" && isInputFolder(name)) continue;
    const address = place.child(name);
    const stats = await lstat(address);
    if (stats.isDirectory() && (keep.has(path) || onTheWay.has(path))) {
      const realPath = join(place.realPath, name);
      const child = await enter({ anchoring: access.anchoring, address, realPath, shown: path });
      try {
        await pruneBelow(child, path, pruning);
      } finally {
        await child.close();
      }
    } else if (!keep.has(path)) {
      // Links themselves, never what they lead to.
      await rm(address, { recursive: true, force: true });
    }
  }
}

function foldersOnTheWay(paths: ReadonlySet<string>): Set<string> {
  const folders = new Set<string>();
  for (const path of paths) {
    const parts = path.split("/").slice(0, -1);
    for (const [depth] of parts.entries()) folders.add(parts.slice(0, depth + 1).join("/"));
  }
  return folders;
}

export function createKeeping(access: FolderAccess): FolderKeeping {
  return {
    survey: () => survey(access),
    prune: (keep) =>
      within(access, {
        segments: [],
        use: (place) => pruneBelow(place, "", { access, keep, onTheWay: foldersOnTheWay(keep) }),
      }),
    makeFolder: (path) =>
      within(access, { segments: path.split("/"), create: true, use: () => Promise.resolve() }),
  };
}
