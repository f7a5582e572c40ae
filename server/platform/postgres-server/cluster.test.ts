import { cp, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findInstalledPostgres } from "./binaries.ts";
import { kill, makeTestFolder, query, runScript, startForTest, until } from "./fixture.ts";

test("a first start that was killed half way is done again from scratch", async () => {
  const dataDir = await makeTestFolder();
  const owner = runScript(
    `const { startEmbeddedPostgres } = await load("postgres-server/embedded-postgres.ts");
    await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, log: () => undefined });`,
  );
  const findPart = async (): Promise<string | undefined> =>
    (await readdir(dataDir)).find((name) => name.startsWith("cluster.part-"));
  await until(async () => {
    const part = await findPart();
    return part !== undefined && (await readdir(join(dataDir, part))).includes("PG_VERSION");
  });
  await kill(owner.child);
  expect(await readdir(dataDir)).not.toContain("cluster");

  const server = await startForTest({ dataDir });
  expect(await query(server, "select 1 as one")).toEqual([{ one: 1 }]);
  expect((await readdir(dataDir)).toSorted()).toEqual(["cluster", "superuser-password"]);
});

test("a database of another major version is refused with a way out, and left as it is", async () => {
  const dataDir = await makeTestFolder();
  const server = await startForTest({ dataDir });
  await server.stop();
  await writeFile(join(dataDir, "cluster", "PG_VERSION"), "15\n");
  await expect(startForTest({ dataDir })).rejects.toMatchObject({
    code: "data_folder_version",
    publicMessage: `The database in ${dataDir}/cluster was made by Postgres 15, and this Guildhall brings Postgres 16.`,
    hint: expect.stringContaining("pg_dump"),
  });
  await writeFile(join(dataDir, "cluster", "PG_VERSION"), "16\n");
  await startForTest({ dataDir });
});

test("a lost password file is named", async () => {
  const dataDir = await makeTestFolder();
  await (await startForTest({ dataDir })).stop();
  await rm(join(dataDir, "superuser-password"));
  await expect(startForTest({ dataDir })).rejects.toMatchObject({
    code: "data_folder_password_missing",
  });
});

test("what initdb complains about reaches the user", async () => {
  const dataDir = await makeTestFolder();
  const nativeDir = await makeTestFolder();
  const filter = (source: string): boolean => !source.endsWith("postgres.bki");
  await cp(findInstalledPostgres(), nativeDir, { recursive: true, verbatimSymlinks: true, filter });
  await expect(startForTest({ dataDir, nativeDir })).rejects.toMatchObject({
    code: "postgres_init_failed",
    publicMessage: expect.stringContaining("postgres.bki"),
  });
});
