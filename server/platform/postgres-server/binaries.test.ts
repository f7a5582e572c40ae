import { chmod, cp, mkdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findInstalledPostgres, restoreLibraryLinks } from "./binaries.ts";
import { hear, makeTestFolder, ordinaryUser, query, runScript, startForTest } from "./fixture.ts";

const installedDir = findInstalledPostgres();
type Link = { source: string; target: string };
const links = JSON.parse(await readFile(join(installedDir, "pg-symlinks.json"), "utf8")) as Link[];

// As `npm ci --ignore-scripts` leaves the package: the files, and the list of links, but no link.
async function copyWithoutLinks(): Promise<string> {
  const nativeDir = join(await makeTestFolder(), "native");
  await cp(installedDir, nativeDir, { recursive: true, verbatimSymlinks: true });
  for (const { target } of links) await rm(join(nativeDir, "..", target));
  return nativeDir;
}

test.runIf(links.length > 0)(
  "library links that no install script made are made at the start",
  async () => {
    const nativeDir = await copyWithoutLinks();
    const server = await startForTest({ dataDir: await makeTestFolder(), nativeDir });
    expect(await query(server, "select 1 as one")).toEqual([{ one: 1 }]);
    for (const { target } of links) {
      const made = await readlink(join(nativeDir, "..", target));
      expect(made).toBe(await readlink(join(installedDir, "..", target)));
    }
  },
);

test.runIf(links.length > 0)(
  "missing links in a folder that may not be written to are named with the fix",
  async () => {
    const nativeDir = await copyWithoutLinks();
    await chmod(join(nativeDir, "lib"), 0o555);
    const script = runScript(
      `const { restoreLibraryLinks } = await load("postgres-server/binaries.ts");
    await restoreLibraryLinks(${JSON.stringify(nativeDir)}).catch(sayError);`,
      ordinaryUser,
    );
    expect(await hear(script)).toMatchObject({
      code: "postgres_binaries_incomplete",
      hint: expect.stringContaining("npm rebuild"),
    });
    await chmod(join(nativeDir, "lib"), 0o755);
  },
);

test("complete links are left alone, without write permission too", async () => {
  await restoreLibraryLinks(installedDir);
  const script = runScript(
    `const { restoreLibraryLinks } = await load("postgres-server/binaries.ts");
    say(await restoreLibraryLinks(${JSON.stringify(installedDir)}).then(() => "fine", String));`,
    ordinaryUser,
  );
  expect(await hear(script)).toBe("fine");
});

test("missing programs are named with the fix", async () => {
  const nativeDir = join(await makeTestFolder(), "native");
  await mkdir(nativeDir);
  await expect(startForTest({ dataDir: await makeTestFolder(), nativeDir })).rejects.toMatchObject({
    code: "postgres_binaries_missing",
    hint: expect.stringContaining("npm ci"),
  });
});

test("programs that do not run here are named with the way out", async () => {
  const nativeDir = join(await makeTestFolder(), "native");
  await cp(installedDir, nativeDir, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(nativeDir, "lib", "libz.so.1"), "not a library");
  await expect(startForTest({ dataDir: await makeTestFolder(), nativeDir })).rejects.toMatchObject({
    code: "postgres_binaries_unusable",
    hint: expect.stringContaining("DATABASE_URL"),
  });
});
