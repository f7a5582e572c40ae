import { cp, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import type { EmbeddedPostgres } from "./embedded-postgres.ts";
import { findInstalledPostgres } from "./binaries.ts";
import { isRoot, makeTestFolder, query, startForTest } from "./fixture.ts";

// oxlint-disable-next-line vitest/no-disabled-tests -- only root can drop to another user; elsewhere there is nothing to test
const whenRoot = test.runIf(isRoot);

/** A home of mode 0700 with the data folder in it, and the place that takes what cannot lie there. */
async function makeClosedHome(): Promise<{
  dataDir: string;
  nativeDir: string;
  reachableRoots: string[];
}> {
  const home = await makeTestFolder(0o700);
  const reachable = join(await makeTestFolder(), "guildhall");
  return {
    dataDir: join(home, "data"),
    nativeDir: join(home, "package", "native"),
    reachableRoots: [reachable],
  };
}

async function addRow(server: EmbeddedPostgres): Promise<void> {
  await query(server, "create table if not exists kept (n int); insert into kept values (1)");
}

async function hasTable(server: EmbeddedPostgres): Promise<unknown> {
  return (await query(server, "select to_regclass('kept') is not null as found"))[0]?.["found"];
}

whenRoot(
  "root can start from a home of mode 0700, and finds the same data at the second start",
  async () => {
    const { nativeDir, ...options } = await makeClosedHome();
    await mkdir(dirname(nativeDir));
    await cp(dirname(findInstalledPostgres()), dirname(nativeDir), {
      recursive: true,
      verbatimSymlinks: true,
    });

    const first = await startForTest({ ...options, nativeDir });
    expect(dirname(first.dataDir)).toBe(options.reachableRoots[0]);
    expect((await stat(join(first.dataDir, "cluster"))).mode & 0o777).toBe(0o700);
    await addRow(first);
    await first.stop();

    const second = await startForTest({ ...options, nativeDir });
    expect(second.dataDir).toBe(first.dataDir);
    expect(await hasTable(second)).toBe(true);
    const copies = (await readdir(options.reachableRoots[0]!)).filter((name) =>
      name.startsWith("postgres-"),
    );
    expect(copies).toEqual([expect.stringMatching(/^postgres-16\.[\w.-]+-linux-\w+$/)]);
  },
);

whenRoot("two first starts at once share one complete copy of the programs", async () => {
  const one = await makeClosedHome();
  await cp(findInstalledPostgres(), one.nativeDir, { recursive: true, verbatimSymlinks: true });
  const two = { ...one, dataDir: `${one.dataDir}-two` };
  const servers = await Promise.all([startForTest(one), startForTest(two)]);
  expect(servers[0].dataDir).not.toBe(servers[1].dataDir);
  const entries = await readdir(one.reachableRoots[0]!);
  expect(entries.filter((name) => name.startsWith("postgres-"))).toHaveLength(1);
});

whenRoot(
  "after the data folder was deleted the start is fresh, and the old database is set aside",
  async () => {
    const { nativeDir: _, ...options } = await makeClosedHome();
    const first = await startForTest(options);
    await addRow(first);
    await rm(options.dataDir, { recursive: true });
    const second = await startForTest(options);
    expect(await hasTable(second)).toBe(false);
    const aside = (await readdir(options.reachableRoots[0]!)).filter((name) => name.includes("."));
    expect(aside).toHaveLength(1);
    expect(second.lines).toContainEqual(
      expect.stringContaining(`set aside in ${options.reachableRoots[0]}/${aside[0]}`),
    );
  },
);

whenRoot("a data folder that was moved keeps its database", async () => {
  const { nativeDir: _, ...options } = await makeClosedHome();
  const first = await startForTest(options);
  await addRow(first);
  await first.stop();
  const moved = `${options.dataDir}-moved`;
  await rename(options.dataDir, moved);
  const second = await startForTest({ ...options, dataDir: moved });
  expect(await hasTable(second)).toBe(true);
});

whenRoot("a copy of a data folder does not take the database of the original", async () => {
  const { nativeDir: _, ...options } = await makeClosedHome();
  const original = await startForTest(options);
  const copy = `${options.dataDir}-copy`;
  await cp(options.dataDir, copy, { recursive: true });
  await expect(startForTest({ ...options, dataDir: copy })).rejects.toMatchObject({
    code: "data_folder_copied",
    hint: `Delete ${copy}/database-location.json to start here with an empty database.`,
  });
  await addRow(original);
});

whenRoot(
  "a database that vanished from its place is reported, not replaced by an empty one",
  async () => {
    const { nativeDir: _, ...options } = await makeClosedHome();
    const first = await startForTest(options);
    await first.stop();
    await rm(first.dataDir, { recursive: true });
    await expect(startForTest(options)).rejects.toMatchObject({ code: "data_folder_lost" });
  },
);
