import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { migrate } from "../platform/migrate.ts";
import { startEmbeddedPostgres } from "../platform/postgres-server/embedded-postgres.ts";
import { readCatalog } from "./catalog.ts";
import { renderSchema } from "./render-schema.ts";

/** Migrates an empty database of its own and writes what it then is to schema.prisma beside this file. */
async function writeSchema(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-schema-"));
  // As root Postgres runs as another user, who must be able to enter.
  await chmod(folder, 0o755);
  const server = await startEmbeddedPostgres({
    dataDir: folder,
    log: () => {},
    settings: { fsync: "off" },
  });
  const ownerUrl = `postgres://${server.superuser}:${server.password}@${server.host}:${server.port}/postgres`;
  const client = new pg.Client({ connectionString: ownerUrl });
  try {
    await migrate({ ownerUrl, passwordOf: () => "unused" });
    await client.connect();
    await writeFile(
      new URL("schema.prisma", import.meta.url),
      renderSchema(await readCatalog(client)),
    );
  } finally {
    await client.end();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

await writeSchema();
