import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";

/** Not part of what is built: tests, and what is only there while building. */
const ignored = /(?:^|\/)(?:node_modules|dist|browser|test)(?:\/|$)|\.test\.tsx?$|^[^/]+\.md$/;

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter((path) => !ignored.test(path))
    .toSorted();
}

/** One hash over everything that the built page is made of: the files of `folders`, and single `files`. */
export async function hashSources({
  folders,
  files,
}: {
  folders: readonly string[];
  files: readonly string[];
}): Promise<string> {
  const hash = createHash("sha256");
  const add = async (name: string, path: string) => {
    const content = await readFile(path).catch((error: unknown) => {
      // An installation without the file is simply another state of the sources.
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    });
    hash.update(`${name}\0${content?.byteLength ?? "none"}\0`);
    if (content) hash.update(content);
  };
  for (const [index, folder] of folders.entries()) {
    for (const path of await filesBelow(folder)) await add(`${index}/${path}`, join(folder, path));
  }
  for (const [index, path] of files.entries()) await add(`file ${index}`, path);
  return hash.digest("hex");
}
