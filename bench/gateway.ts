import { mkdtemp, chmod, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSimulator } from "@guildhall/simulator/simulator.ts";
import pg from "pg";
import { Agent, request } from "undici";
import { createGateway } from "../server/gateway/gateway.ts";
import { createLedger } from "../server/ledger/ledger.ts";
import { createDb } from "../server/platform/db.ts";
import { createLogger } from "../server/platform/log.ts";
import { migrate } from "../server/platform/migrate.ts";
import { startEmbeddedPostgres } from "../server/platform/postgres-server/embedded-postgres.ts";
import { Secret } from "../server/platform/secret.ts";
import { createClaimedRun, createTenant } from "../server/test/tenant.ts";
import { measure, percentile, printTable } from "./figures.ts";

const ROUNDS = 3;
const CALLS = 400;
const CONCURRENCY = 16;
const STREAMS = 50;

type Target = { name: string; url: string; key: string };

const agent = new Agent({ connections: 64 });

async function call(target: Target, stream: boolean): Promise<number> {
  const begun = performance.now();
  const response = await request(`${target.url}/v1/messages`, {
    method: "POST",
    dispatcher: agent,
    headers: {
      "content-type": "application/json",
      "x-api-key": target.key,
      "anthropic-version": "2023-06-01",
    },
    body: JSON.stringify({
      model: "claude-sonnet-5-5",
      max_tokens: 64,
      stream,
      messages: [{ role: "user", content: "Say a few words about ledgers." }],
    }),
  });
  let firstByteMs = Number.NaN;
  for await (const chunk of response.body) {
    if (Number.isNaN(firstByteMs) && (chunk as Buffer).length > 0)
      firstByteMs = performance.now() - begun;
  }
  if (response.statusCode !== 200)
    throw new Error(`${target.name} answered ${response.statusCode}`);
  return firstByteMs;
}

async function firstBytes(target: Target): Promise<number[]> {
  const samples: number[] = [];
  for (let n = 0; n < STREAMS; n++) samples.push(await call(target, true));
  return samples;
}

async function compare(direct: Target, gateway: Target): Promise<void> {
  const throughput = new Map<string, number[]>();
  const firstByte = new Map<string, number[]>();
  for (const target of [direct, gateway])
    await measure({ count: 100, callers: CONCURRENCY }, () => call(target, false));
  for (let round = 0; round < ROUNDS; round++) {
    for (const target of [direct, gateway]) {
      const { perSecond } = await measure({ count: CALLS, callers: CONCURRENCY }, () =>
        call(target, false),
      );
      throughput.set(target.name, [...(throughput.get(target.name) ?? []), perSecond]);
      firstByte.set(target.name, [
        ...(firstByte.get(target.name) ?? []),
        ...(await firstBytes(target)),
      ]);
    }
  }
  const rows = [direct, gateway].map(({ name }) => ({
    what: name,
    "requests/s": percentile(throughput.get(name) ?? [], 0.5),
    "first byte p50 ms": percentile(firstByte.get(name) ?? [], 0.5),
    "first byte p99 ms": percentile(firstByte.get(name) ?? [], 0.99),
  }));
  const [before, after] = rows;
  if (!before || !after) return;
  printTable([
    ...rows,
    {
      what: "added by the gateway / ratio",
      "requests/s": after["requests/s"] / before["requests/s"],
      "first byte p50 ms": after["first byte p50 ms"] - before["first byte p50 ms"],
      "first byte p99 ms": after["first byte p99 ms"] - before["first byte p99 ms"],
    },
  ]);
}

/** The gateway (authentication, durable hold, mark and settlement, fsync on) against the same provider called directly. */
export async function benchGateway(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-bench-"));
  await chmod(folder, 0o755);
  const postgres = await startEmbeddedPostgres({
    dataDir: join(folder, "postgres"),
    log: () => {},
  });
  const ownerUrl = `postgres://${postgres.superuser}:${postgres.password}@${postgres.host}:${postgres.port}/postgres`;
  const passwordOf = (role: string): string => `bench-${role}`;
  await migrate({ ownerUrl, passwordOf });
  const log = createLogger({ level: "error" });
  const db = createDb({
    address: { host: postgres.host, port: postgres.port, database: "postgres" },
    passwordOf,
    log,
  });
  const admin = new pg.Client({ connectionString: ownerUrl });
  await admin.connect();
  const simulator = createSimulator({ latency: { firstByteMs: 0, perEventMs: 0 } });
  const upstream = await simulator.listen();
  const processId = "bench";
  const ledger = createLedger({ db, processId });
  const gateway = createGateway({
    ledger,
    upstream: { baseUrl: upstream.url, apiKey: new Secret("bench") },
    journalKey: "bench-journal-key-of-32-characters",
    log,
    processId,
    limits: { callTimeoutMs: 60_000, idleTimeoutMs: 30_000, budgetWaitMs: 1_000 },
  });
  const { url } = await gateway.listen({ port: 0, host: "127.0.0.1" });
  const tenant = await createTenant(admin, { costLimitNanoUsd: 1_000_000_000_000 });
  const run = await createClaimedRun(admin, tenant, {
    costLimitNanoUsd: 1_000_000_000_000,
    modelCallLimit: 1_000_000,
  });
  await admin.query(`UPDATE runs SET lease_until = now() + interval '1 day' WHERE id = $1`, [
    run.runId,
  ]);
  try {
    await compare(
      { name: "provider called directly", url: upstream.url, key: "bench" },
      { name: "through the gateway", url, key: run.token },
    );
  } finally {
    await gateway.close({ drainMs: 0 });
    await simulator.close();
    await admin.end();
    await db.close();
    await agent.close();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
