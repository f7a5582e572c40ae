import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { folderOnDemand } from "./folder-on-demand.ts";
import { openRunFolder } from "./run-folder.ts";

async function temporaryFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "guildhall-on-demand-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}
const limits = { maxFileBytes: 1_000, maxTotalBytes: 10_000, maxFiles: 10 };

test("a folder that nobody has wanted yet has nothing in it and is not made; what is written makes it, once", async () => {
  const root = join(await temporaryFolder(), "run");
  let made = 0;
  const folder = folderOnDemand(() => {
    made++;
    return openRunFolder({ root, limits });
  });
  expect(await folder.survey()).toEqual([]);
  await folder.prune(new Set());
  await expect(stat(root)).rejects.toThrow("ENOENT");
  await Promise.all([folder.writeText("a.md", "one"), folder.writeText("b/c.md", "two")]);
  expect(made).toBe(1);
  expect(await folder.listWritten()).toMatchObject([{ path: "a.md" }, { path: "b/c.md" }]);
  const surveyed = (await folder.survey()).map((entry) => entry.path);
  expect(surveyed.toSorted()).toEqual(["a.md", "b", "b/c.md"]);
  await folder.prune(new Set(["a.md"]));
  expect(await folder.listWritten()).toMatchObject([{ path: "a.md" }]);
});

test("a folder that could not be made is tried again when it is wanted again", async () => {
  const parent = await temporaryFolder();
  const root = join(parent, "taken", "run");
  await writeFile(join(parent, "taken"), "a file in the way");
  const folder = folderOnDemand(() => openRunFolder({ root, limits }));
  await expect(folder.list()).rejects.toThrow("ENOTDIR");
  await rm(join(parent, "taken"));
  expect(await folder.list()).toEqual({ entries: [], truncated: false });
});
