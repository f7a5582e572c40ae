import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildWeb } from "./build.ts";

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-web-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test("starts at the same time build one page, for production, and a later start builds nothing", async () => {
  const place = await makeFolder();
  const both = await Promise.all([buildWeb({ places: [place] }), buildWeb({ places: [place] })]);
  expect(new Set(both.map(({ folder }) => folder)).size).toBe(1);
  const { folder } = both[0];
  expect(await readdir(place)).toEqual([folder.slice(place.length + 1)]);
  expect(await readFile(join(folder, "index.html"), "utf8")).toContain("/assets/");
  const scripts = (await readdir(join(folder, "assets"))).filter((name) => name.endsWith(".js"));
  for (const name of scripts)
    expect(await readFile(join(folder, "assets", name), "utf8")).not.toContain("jsxDEV");

  const { mtimeMs } = await stat(folder);
  expect(await buildWeb({ places: [place] })).toEqual({ built: false, folder });
  expect((await stat(folder)).mtimeMs).toBe(mtimeMs);
});

test("a build that lies in any of the places is used", async () => {
  const [first, second] = [await makeFolder(), await makeFolder()];
  const { folder } = await buildWeb({ places: [second] });
  expect(await buildWeb({ places: [first, second] })).toEqual({ built: false, folder });
  expect(await readdir(first)).toEqual([]);
});
