import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, constants, copyFile, link, mkdir, open, rename, rm } from "node:fs/promises";
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

/** Gives the file a second name, which appears at once and whole. */
async function place(file: LocalFile, target: string): Promise<void> {
  try {
    await link(file.path, target);
  } catch (error) {
    // The same bytes, put before or by somebody else.
    if (hasCode(error, "EEXIST")) return;
    if (!hasCode(error, "EXDEV", "EPERM", "ENOTSUP", "EMLINK")) throw error;
    // A disk of its own, or one that knows no second names.
    const part = `${target}.${randomBytes(8).toString("hex")}.part`;
    await copyFile(file.path, part);
    await sync(part);
    await rename(part, target);
  }
}

/**
 * Contents on the local disk, below `root`. They appear at once, so a reader never sees half of one. The file that is
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
        await place(file, target);
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
