import { readFile } from "node:fs/promises";
import pg from "pg";
import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { testPasswordOf } from "../test/postgres.ts";
import { manifestOf, migrate, readMigrations } from "./migrate.ts";

const { admin, ownerUrl } = await createTestDatabase();
const migrations = await readMigrations();
const next = (migrations.at(-1)?.version ?? 0) + 1;

function added(sql: string) {
  return { version: next, name: `${next}_test.sql`, sql, checksum: `checksum of ${sql}` };
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

it("a database of a newer release is refused with what to do", async () => {
  const client = new pg.Client({ connectionString: ownerUrl });
  await client.connect();
  await client.query(
    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, 'later', 'later')",
    [next + 1],
  );
  await client.end();
  await expect(migrate({ ownerUrl, passwordOf: testPasswordOf })).rejects.toMatchObject({
    code: "database_newer",
    hint: expect.stringContaining("newer release"),
  });
});
