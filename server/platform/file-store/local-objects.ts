import { createReadStream } from "node:fs";
import { access, constants, copyFile, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { once } from "node:events";
import { makeDataFolder } from "../data-folder.ts";
import { hasCode } from "../system-error.ts";
import {
  contentMissing,
  objectPath,
  storageFull,
  type LocalFile,
  type ObjectStore,
} from "./object-store.ts";

/** A rename is durable only once the folder that holds the new name is. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function move(file: LocalFile, target: string): Promise<void> {
  try {
    await rename(file.path, target);
  } catch (error) {
    if (!hasCode(error, "EXDEV")) throw error;
    // The folder lies on a disk of its own.
    const part = `${target}.part`;
    await copyFile(file.path, part);
    await sync(part);
    await rename(part, target);
    await rm(file.path, { force: true });
  }
}

/**
 * Contents on the local disk, below `root`. They appear by rename, so a reader never sees half of one. The file that is
 * put must be durable itself.
 */
export function createLocalObjects(options: { root: string }): ObjectStore {
  const pathOf = (name: Parameters<typeof objectPath>[0]): string =>
    join(options.root, objectPath(name));
  return {
    description: "the disk of this machine",
    async check() {
      await access(await makeDataFolder(options.root), constants.R_OK);
    },
    async put(name, file) {
      const target = pathOf(name);
      const folder = dirname(target);
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await move(file, target);
        await sync(folder);
      } catch (error) {
        throw hasCode(error, "ENOSPC", "EDQUOT") ? storageFull(error) : error;
      }
    },
    async open(name) {
      const stream = createReadStream(pathOf(name));
      try {
        await once(stream, "open");
        return stream;
      } catch (error) {
        throw hasCode(error, "ENOENT") ? contentMissing(name, error) : error;
      }
    },
    remove: (name) => rm(pathOf(name), { force: true }),
  };
}
