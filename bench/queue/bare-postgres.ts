import pg from "pg";
import type { BenchDatabase } from "../database.ts";

/**
 * The least that a durable hand-over in Postgres takes: one row and a notice in one commit, and the update that claims it
 * in another one, over a connection each. `started` is told when the claim is durable (`performance.now()`).
 */
export async function createBarePostgres(database: BenchDatabase): Promise<{
  add(n: number, started: (atMs: number) => void): Promise<void>;
  close(): Promise<void>;
}> {
  const clients = Array.from(
    { length: 3 },
    () => new pg.Client({ connectionString: database.ownerUrl }),
  );
  const [adding, claiming, listening] = clients as [pg.Client, pg.Client, pg.Client];
  for (const client of clients) await client.connect();
  await adding.query("CREATE TABLE bare_jobs (n int PRIMARY KEY, state text NOT NULL)");
  await listening.query("LISTEN bare_jobs");
  const begun = new Map<number, (atMs: number) => void>();

  async function claim(n: number): Promise<void> {
    await claiming.query({
      name: "claim",
      text: "UPDATE bare_jobs SET state = 'claimed' WHERE n = $1 AND state = 'queued' RETURNING n",
      values: [n],
    });
    begun.get(n)?.(performance.now());
  }
  listening.on("notification", ({ payload }) => void claim(Number(payload)));

  return {
    async add(n, started) {
      begun.set(n, started);
      await adding.query({
        name: "add",
        text: "WITH job AS (INSERT INTO bare_jobs VALUES ($1, 'queued')) SELECT pg_notify('bare_jobs', $1::text)",
        values: [n],
      });
    },
    async close() {
      for (const client of clients) await client.end();
      await database.admin.query("DROP TABLE bare_jobs");
    },
  };
}
