import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UsageError } from "./exit.ts";
import { collectInput } from "./input-files.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "guildhall-cli-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(path: string, content = path): Promise<string> {
  const full = join(folder, path);
  await mkdir(join(full, ".."), { recursive: true });
  await writeFile(full, content);
  return full;
}

async function pathsOf(...inputs: string[]): Promise<string[]> {
  return (await collectInput(inputs)).map(({ path }) => path);
}

test("a folder gives its files with their folders, a file itself, in a fixed order", async () => {
  await write("in/b.csv");
  await write("in/a/deep/c.csv");
  await write("in/.hidden");
  const single = await write("other/d.csv", "text");
  expect(await pathsOf(join(folder, "in"), single)).toEqual([
    ".hidden",
    "a/deep/c.csv",
    "b.csv",
    "d.csv",
  ]);
  const [file] = await collectInput([single]);
  expect(await file?.data.text()).toBe("text");
});

test("weight that is no input stays: packages, history, and the product's own data", async () => {
  for (const path of [
    "in/node_modules/x/y.js",
    "in/sub/.git/HEAD",
    "in/.guildhall/secret",
    "in/sub/a.txt",
  ])
    await write(path);
  expect(await pathsOf(join(folder, "in"))).toEqual(["sub/a.txt"]);
});

test("symbolic links in a folder are not followed, to files or folders, or in a circle", async () => {
  await write("in/own.txt");
  await write("secret/key.txt");
  await symlink(join(folder, "secret/key.txt"), join(folder, "in/key.txt"));
  await symlink(join(folder, "secret"), join(folder, "in/folder"));
  await symlink(join(folder, "in"), join(folder, "in/again"));
  expect(await pathsOf(join(folder, "in"))).toEqual(["own.txt"]);
});

test("nothing to send, something that is not there and two files of one name are mistakes of the command line", async () => {
  await mkdir(join(folder, "empty"));
  const [first, second] = [await write("1/a.csv"), await write("2/a.csv")];
  const refused = async (...inputs: string[]): Promise<void> => {
    await expect(collectInput(inputs)).rejects.toBeInstanceOf(UsageError);
  };
  await refused(join(folder, "empty"));
  await refused(join(folder, "absent"));
  await refused(first, second);
  expect(await collectInput([])).toEqual([]);
});
