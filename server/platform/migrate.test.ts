import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import { expect, it, onTestFinished, vi } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { testPasswordOf } from "../test/postgres.ts";
import { manifestOf, migrate, readMigrations } from "./migrate.ts";

const { admin, ownerUrl } = await createTestDatabase();
const migrations = await readMigrations();
const next = (migrations.at(-1)?.version ?? 0) + 1;

function added(sql: string) {
  return { version: next, name: `${next}_test.sql`, sql, checksum: `checksum of ${sql}`, needs: 0 };
}

it("the manifest names every migration with its checksum (else: npm run manifest)", async () => {
  const text = await readFile(new URL("../migrations/manifest.json", import.meta.url), "utf8");
  expect(text).toBe(manifestOf(migrations));
});

it("versions count from 1 without a gap", () => {
  expect(migrations.map((migration) => migration.version)).toEqual(
    Array.from({ length: migrations.length }, (_, n) => n + 1),
  );
});

it("a database that is up to date is left as it is", async () => {
  expect(await migrate({ ownerUrl, passwordOf: testPasswordOf })).toBe(0);
});

it("a migration that was changed after it had been applied is refused", async () => {
  const changed = migrations.map((migration, n) =>
    n === 0 ? { ...migration, checksum: "another" } : migration,
  );
  await expect(
    migrate({ ownerUrl, passwordOf: testPasswordOf, migrations: changed }),
  ).rejects.toMatchObject({ code: "migration_changed" });
});

it("a migration that fails half way leaves nothing, and migrators that start together apply it once", async () => {
  const broken = added("CREATE TABLE half_made (id int); SELECT 1 / 0;");
  await expect(
    migrate({ ownerUrl, passwordOf: testPasswordOf, migrations: [...migrations, broken] }),
  ).rejects.toMatchObject({ code: "22012" });
  expect((await admin.query("SELECT to_regclass('half_made') AS table_name")).rows).toEqual([
    { table_name: null },
  ]);

  const whole = added("CREATE TABLE whole (id int);");
  const applied = await Promise.all(
    Array.from({ length: 4 }, () =>
      migrate({ ownerUrl, passwordOf: testPasswordOf, migrations: [...migrations, whole] }),
    ),
  );
  expect(applied.toSorted((a, b) => a - b)).toEqual([0, 0, 0, 1]);
});

it("a migration that waits for a table lets the others go on, and is applied when the table is free", async () => {
  const reader = new pg.Client({ connectionString: ownerUrl });
  await reader.connect();
  await reader.query("BEGIN; SELECT 1 FROM whole");
  const wider = {
    ...added("ALTER TABLE whole ADD COLUMN note text"),
    version: next + 1,
    name: "later.sql",
  };
  const known = [...migrations, added("CREATE TABLE whole (id int);"), wider];
  const migrating = migrate({ ownerUrl, passwordOf: testPasswordOf, migrations: known });
  const waiting = async (): Promise<boolean> => {
    const { rows } = await reader.query(
      "SELECT 1 FROM pg_locks WHERE relation = 'whole'::regclass AND NOT granted",
    );
    return rows.length > 0;
  };
  // It waits, gives up, and waits again.
  await vi.waitUntil(waiting, 20_000);
  await vi.waitUntil(async () => !(await waiting()), 20_000);
  await vi.waitUntil(waiting, 20_000);
  await reader.query("COMMIT");
  expect(await migrating).toBe(1);
  await reader.end();
});

it("a database of a newer release is good for this one until something that it uses was taken away", async () => {
  expect(await migrate({ ownerUrl, passwordOf: testPasswordOf })).toBe(0);
  await admin.query(
    "INSERT INTO schema_migrations (version, name, checksum, needs) VALUES ($1, 'later', 'later', $2)",
    [next + 2, next + 1],
  );
  await expect(migrate({ ownerUrl, passwordOf: testPasswordOf })).rejects.toMatchObject({
    code: "database_newer",
    hint: expect.stringContaining("newer release"),
  });
});

it("a migration says itself what it needs", async () => {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-migrations-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "0001_adds.sql"), "-- Adds only.\n");
  await writeFile(
    join(folder, "0002_takes.sql"),
    "-- The old name.\n-- needs code of 0001\nSELECT 1;\n",
  );
  const read = await readMigrations(pathToFileURL(`${folder}/`));
  expect(read.map(({ version, needs }) => ({ version, needs }))).toEqual([
    { version: 1, needs: 0 },
    { version: 2, needs: 1 },
  ]);
});
