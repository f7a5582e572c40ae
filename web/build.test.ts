import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes } from "node:fs/promises";
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

  expect(await buildWeb({ places: [place] })).toEqual({ built: false, folder });
});

test("a build that lies in any of the places is used", async () => {
  const [first, second] = [await makeFolder(), await makeFolder()];
  const { folder } = await buildWeb({ places: [second] });
  expect(await buildWeb({ places: [first, second] })).toEqual({ built: false, folder });
  expect(await readdir(first)).toEqual([]);
});

test("builds that nobody has used for long are removed, all but a few; used ones stay, however old", async () => {
  const place = await makeFolder();
  const { folder } = await buildWeb({ places: [place] });
  const longAgo = new Date("2026-01-01T00:00:00Z");
  const others = Array.from({ length: 8 }, (_, index) => join(place, `older-${index}`));
  for (const other of others) await mkdir(other);
  for (const old of [folder, ...others.slice(1)]) await utimes(old, longAgo, longAgo);
  // Taken by a start, and so no longer old; then the next state of the sources is built.
  await buildWeb({ places: [place] });
  await rename(folder, join(place, "taken"));
  const next = await buildWeb({ places: [place] });
  const left = await readdir(place);
  expect(left).toHaveLength(5);
  for (const name of ["taken", "older-0", next.folder.slice(place.length + 1)])
    expect(left).toContain(name);
});

test("what a killed build has left is removed once no build can still be at it", async () => {
  const place = await makeFolder();
  const [abandoned, busy] = [join(place, "unfinished-1"), join(place, "unfinished-2")];
  await mkdir(abandoned);
  await mkdir(busy);
  const longAgo = new Date("2026-01-01T00:00:00Z");
  await utimes(abandoned, longAgo, longAgo);
  const { folder } = await buildWeb({ places: [place] });
  const left = await readdir(place);
  expect(left.toSorted()).toEqual([folder.slice(place.length + 1), "unfinished-2"].toSorted());
});
