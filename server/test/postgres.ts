import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startEmbeddedPostgres } from "../platform/postgres-server/embedded-postgres.ts";
import { migrate } from "../platform/migrate.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Superuser URL of the test server, its template database already migrated. */
    postgresUrl: string;
  }
}

export const TEMPLATE_DATABASE = "guildhall_template";
export const testPasswordOf = (role: string): string => `test-${role}`;

/** One real Postgres per test run; each test file clones the migrated template, which takes some 50 ms. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-test-"));
  // As root Postgres runs as another user, who must be able to enter.
  await chmod(folder, 0o755);
  const server = await startEmbeddedPostgres({
    dataDir: folder,
    log: () => {},
    settings: { fsync: "off", max_connections: "300" },
  });
  const url = `postgres://${server.superuser}:${server.password}@${server.host}:${server.port}`;
  const admin = new pg.Client({ connectionString: `${url}/postgres` });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${TEMPLATE_DATABASE}`);
  await admin.end();
  await migrate({ ownerUrl: `${url}/${TEMPLATE_DATABASE}`, passwordOf: testPasswordOf });
  project.provide("postgresUrl", url);
  return async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
