import { randomUUID } from "node:crypto";
import { link, open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { notWritable } from "./data-folder.ts";
import { AppError } from "./errors.ts";
import { hasCode } from "./system-error.ts";

/** How things lie in the data folder. It grows when a release that came before could not read what this one writes. */
export const DATA_FOLDER_VERSION = 1;

const VERSION_FILE = "layout-version";

/** What may lie there before the version: our own first files, and what a fresh file system brings along. */
const beforeVersion = (name: string): boolean =>
  name.startsWith("instance.lock") || name.startsWith(VERSION_FILE) || name === "lost+found";

async function readVersion(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function unversioned(dataDir: string): AppError {
  return new AppError({
    code: "data_folder_unknown",
    status: 500,
    publicMessage: `The folder ${dataDir} has files in it, but no ${VERSION_FILE}: it is not a data folder of Guildhall, or one from before it had versions.`,
    hint: `Choose an empty folder with GUILDHALL_DATA_DIR. If you know that it is Guildhall's own, say so once: echo ${DATA_FOLDER_VERSION} > ${join(dataDir, VERSION_FILE)}`,
  });
}

function otherVersion(dataDir: string, found: string): AppError {
  const number = /^[1-9]\d{0,8}$/.test(found) ? Number(found) : undefined;
  const known = `this release reads version ${DATA_FOLDER_VERSION}`;
  if (number === undefined)
    return new AppError({
      code: "data_folder_damaged",
      status: 500,
      publicMessage: `${join(dataDir, VERSION_FILE)} does not hold a version; ${known}.`,
      hint: "Restore the folder from a backup, or choose another one with GUILDHALL_DATA_DIR.",
    });
  const newer = number > DATA_FOLDER_VERSION;
  return new AppError({
    code: "data_folder_version",
    status: 500,
    publicMessage: `The data folder ${dataDir} has version ${number}; ${known}. Nothing in it was touched.`,
    hint: `${newer ? "A newer release has worked here: start that one again" : "An older release has worked here: start that one again and export what you need"}, or choose another folder with GUILDHALL_DATA_DIR.`,
    extensions: { found: number, known: DATA_FOLDER_VERSION },
  });
}

/** Writes the version at once and complete: several processes may start on one new folder. */
async function writeVersion(dataDir: string): Promise<void> {
  const path = join(dataDir, VERSION_FILE);
  const part = `${path}.${randomUUID()}`;
  try {
    const file = await open(part, "wx", 0o644);
    try {
      await file.writeFile(`${DATA_FOLDER_VERSION}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(part, path);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw notWritable(dataDir, error);
  } finally {
    await rm(part, { force: true });
  }
}

/**
 * Marks an empty data folder with the version of its layout, or makes sure that the one there is ours. Before anything
 * else is read or written in it. Throws `data_folder_version`, `data_folder_unknown` or `data_folder_damaged`, each
 * with what to do.
 */
export async function requireDataFolderVersion(dataDir: string): Promise<void> {
  const path = join(dataDir, VERSION_FILE);
  let found = await readVersion(path);
  if (found === undefined) {
    if (!(await readdir(dataDir)).every(beforeVersion)) {
      // Another process may just have marked it and begun to fill it.
      found = await readVersion(path);
      if (found === undefined) throw unversioned(dataDir);
    } else {
      await writeVersion(dataDir);
      found = await readVersion(path);
    }
  }
  if (found !== String(DATA_FOLDER_VERSION)) throw otherVersion(dataDir, found ?? "");
}
