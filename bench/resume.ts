import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@guildhall/sdk/client/client.ts";
import { openInstallationOfRoles } from "../server/test/role-processes.ts";
import { percentile, printTable } from "./figures.ts";

const RUNS = 40;
const ROUNDS = 3;
/** Each run has a model call open for so long, more than a lease, when its worker is killed. */
const STALL_MS = 12_000;

type Installation = Awaited<ReturnType<typeof openInstallationOfRoles>>;

/** When each run was claimed for the second time, milliseconds of the database's clock. */
async function secondClaims({ db }: Installation, ids: readonly string[]): Promise<number[]> {
  const rows = await db.withPlatform((tx) =>
    tx.query<{ at_ms: number }>({
      text: `SELECT extract(epoch FROM a.started_at)::float8 * 1000 AS at_ms
        FROM attempts a JOIN runs r ON r.workspace_id = a.workspace_id AND r.id = a.run_id
        WHERE a.epoch = 2 AND r.task_id = ANY ($1)`,
      values: [ids],
    }),
  );
  return rows.map((row) => row.at_ms);
}

async function databaseMs({ db }: Installation): Promise<number> {
  const [row] = await db.withPlatform((tx) =>
    tx.query<{ ms: number }>({
      text: "SELECT extract(epoch FROM clock_now())::float8 * 1000 AS ms",
      values: [],
    }),
  );
  return row?.ms ?? Number.NaN;
}

async function until(look: () => Promise<boolean>): Promise<void> {
  while (!(await look())) await delay(50);
}

/**
 * A worker with 40 runs, each in the middle of a model call, is killed, with the default lease, heartbeat, grace and
 * poll: from the kill to the claim of each run by another worker that was there before. Milliseconds.
 */
export async function benchResume(): Promise<void> {
  const installation = await openInstallationOfRoles({
    WORKER_CONCURRENCY: String(RUNS),
    RATE_LIMITS: "create_task=off, change=off, user=off, address=off",
  });
  try {
    const token = await installation.createKey();
    const gateway = await installation.start(["gateway"]);
    const to = { GATEWAY_URL: gateway.gatewayUrl };
    const api = await installation.start(["api"], to);
    await installation.start(["scheduler"]);
    const client = createClient({ baseUrl: api.url, token });
    await client.limits.set({ meter: "concurrent_tasks", level: "workspace", amount: RUNS });
    const delaysMs: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const doomed = await installation.start(["worker"], to);
      await installation.setFaults([{ kind: "stall", before_event: 2, ms: STALL_MS, times: RUNS }]);
      const tasks = await Promise.all(
        Array.from({ length: RUNS }, () =>
          client.tasks.create({ agent: "gray", prompt: "Look around" }),
        ),
      );
      await until(async () => (await installation.openHolds()) === RUNS);
      const other = await installation.start(["worker"], to);
      const killedMs = await databaseMs(installation);
      await doomed.kill();
      const ids = tasks.map(({ id }) => id);
      await until(async () => (await secondClaims(installation, ids)).length === RUNS);
      delaysMs.push(...(await secondClaims(installation, ids)).map((atMs) => atMs - killedMs));
      await Promise.all(ids.map((id) => client.tasks.cancel(id).catch(() => undefined)));
      await other.kill();
    }
    printTable([
      {
        what: `killed with ${RUNS} runs, ${ROUNDS} times`,
        "p50 ms": percentile(delaysMs, 0.5),
        "p99 ms": percentile(delaysMs, 0.99),
        "worst ms": Math.max(...delaysMs),
      },
    ]);
    console.log("\nTarget: p99 at most 12,000 ms.");
  } finally {
    await installation.close();
  }
}
