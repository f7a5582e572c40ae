import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openInstallation } from "../installation.ts";
import { readConfig } from "./config.ts";
import { DATA_FOLDER_VERSION, requireDataFolderVersion } from "./data-folder-version.ts";
import { createLogger } from "./log.ts";

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "guildhall-data-"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const mark = (text: string) => writeFile(join(dataDir, "layout-version"), text);

test("an empty folder is marked, and is good at the next start, full of data", async () => {
  await requireDataFolderVersion(dataDir);
  expect(await readFile(join(dataDir, "layout-version"), "utf8")).toBe(`${DATA_FOLDER_VERSION}\n`);
  await mkdir(join(dataDir, "files"));
  await requireDataFolderVersion(dataDir);
});

test("processes that start at once on a new folder all find it good, and leave one mark", async () => {
  await Promise.all(
    Array.from({ length: 8 }, async (_none, n) => {
      await requireDataFolderVersion(dataDir);
      await writeFile(join(dataDir, `data-${n}`), "");
    }),
  );
  const names = await readdir(dataDir);
  expect(names.filter((name) => !name.startsWith("data-"))).toEqual(["layout-version"]);
});

test("a fresh disk is an empty folder", async () => {
  await mkdir(join(dataDir, "lost+found"));
  await requireDataFolderVersion(dataDir);
});

test("a folder of a newer release is refused with what to do", async () => {
  await mark(`${DATA_FOLDER_VERSION + 1}\n`);
  await expect(requireDataFolderVersion(dataDir)).rejects.toMatchObject({
    code: "data_folder_version",
    publicMessage: `The data folder ${dataDir} has version 2; this release reads version 1. Nothing in it was touched.`,
    hint: expect.stringContaining("start that one again"),
  });
});

test("a mark that is no version is refused, and so is a folder of something else", async () => {
  await mark("");
  await expect(requireDataFolderVersion(dataDir)).rejects.toMatchObject({
    code: "data_folder_damaged",
  });
  await rm(join(dataDir, "layout-version"));
  await writeFile(join(dataDir, "holiday.jpg"), "");
  await expect(requireDataFolderVersion(dataDir)).rejects.toMatchObject({
    code: "data_folder_unknown",
    hint: expect.stringContaining(`echo 1 > ${join(dataDir, "layout-version")}`),
  });
  expect(await readdir(dataDir)).toEqual(["holiday.jpg"]);
});

test("the product does not start on a folder of another version, and leaves it as it is", async () => {
  await mark("7\n");
  const config = readConfig({ GUILDHALL_DATA_DIR: dataDir });
  await expect(openInstallation(config, createLogger({ level: "silent" }))).rejects.toMatchObject({
    code: "data_folder_version",
  });
  expect(await readdir(dataDir)).toEqual(["layout-version"]);
});
