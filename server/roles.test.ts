import { createClient } from "@guildhall/sdk/client/client.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { readConfig } from "./platform/config.ts";
import { allRoles, parseRoles, requireRoleSettings } from "./roles.ts";
import { runGuildhall } from "./test/product.ts";
import { openInstallationOfRoles } from "./test/role-processes.ts";

// A start takes two seconds on a free machine, and many times that on one that runs a whole suite.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

// So slow that only notices can be the reason when something happens at once.
const NO_POLL = {
  POLL_MS: "600000",
  HEARTBEAT_MS: "60000",
  LEASE_MS: "600000",
  DRAIN_MS: "3000",
  WORKER_CONCURRENCY: "1",
};

const installation = await openInstallationOfRoles(NO_POLL);
const key = await installation.createKey();
afterAll(() => installation.close());

const clientOf = (url: string) => createClient({ baseUrl: url, token: key });

/** A page that follows a task at one process. */
async function watch(url: string, taskId: string): Promise<Map<number, Event>> {
  const page = await installation.openPage(url);
  onTestFinished(() => void page.close());
  const seen = new Map<number, Event>();
  page.on("events", ({ events }) => {
    for (const event of events) seen.set(event.seq, event);
  });
  const answer = await page.emitWithAck("follow", { task_id: taskId, after: 0 });
  if (!answer.ok) throw new Error(answer.code);
  for (const event of answer.events) seen.set(event.seq, event);
  return seen;
}

const typesOf = (seen: ReadonlyMap<number, Event>) =>
  new Set([...seen.values()].map((event) => event.type));

test("a task that one process takes runs in a second through the gateway of a third, and is watched at a fourth, all by notices", async () => {
  const gateway = await installation.start(["gateway"]);
  const to = { GATEWAY_URL: gateway.gatewayUrl };
  const [first, second, worker] = await Promise.all([
    installation.start(["api"], to),
    installation.start(["api"], to),
    installation.start(["worker"], to),
  ]);
  onTestFinished(async () => {
    for (const process of [first, second, worker, gateway]) await process.kill();
  });
  const task = await clientOf(first.url).tasks.create({ agent: "gray", prompt: "Look around" });
  const seen = await watch(second.url, task.id);
  await vi.waitUntil(() => typesOf(seen).has("task.succeeded"), 120_000);
  expect([...seen.keys()].toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: seen.size }, (_, n) => n + 1),
  );
  expect((await clientOf(second.url).tasks.get(task.id)).state).toBe("succeeded");
  const me = await fetch(`${second.url}/v1/me`, { headers: { authorization: `Bearer ${key}` } });
  expect(await me.json()).toMatchObject({
    model: { simulated: true },
    gateway: { base_url: gateway.gatewayUrl },
  });

  // The worker takes one run at a time, so the next one runs only when the cancelled one has stopped.
  await installation.setFaults([{ kind: "stall", at: "before_headers", ms: 3_600_000, times: 1 }]);
  const long = await clientOf(first.url).tasks.create({ agent: "gray", prompt: "Look around" });
  const ofLong = await watch(second.url, long.id);
  await vi.waitUntil(() => typesOf(ofLong).has("run.claimed"), 120_000);
  await vi.waitUntil(async () => (await installation.openHolds()) > 0, 120_000);
  await clientOf(second.url).tasks.cancel(long.id);
  await installation.setFaults([]);
  const next = await clientOf(second.url).tasks.create({ agent: "gray", prompt: "Look around" });
  const ofNext = await watch(first.url, next.id);
  await vi.waitUntil(() => typesOf(ofNext).has("task.succeeded"), 120_000);

  for (const process of [first, second, worker, gateway]) {
    expect((await fetch(`${process.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${process.url}/readyz`)).status).toBe(200);
    expect((await fetch(`${process.url}/metrics`)).status).toBe(200);
  }
  expect((await fetch(`${gateway.gatewayUrl}/readyz`)).status).toBe(200);
  for (const process of [first, second, worker, gateway]) expect(await process.stop()).toBe(0);
  expect(await installation.brokenLaws()).toEqual([]);
});

test("a worker that cannot claim, though it reaches the database, is not ready until it can", async () => {
  const settings = { GATEWAY_URL: "http://127.0.0.1:9", POLL_MS: "100" };
  const worker = await installation.start(["worker"], settings);
  const owner = await installation.connectOwner();
  onTestFinished(async () => {
    await worker.kill();
    await owner.end();
  });
  const ready = async () => (await fetch(`${worker.url}/readyz`)).json();
  expect(await ready()).toEqual({ status: "ok" });
  const claim = "EXECUTE ON FUNCTION claim";
  await owner.query(`REVOKE ${claim} FROM guildhall_ledger`);
  await expect.poll(ready, { timeout: 60_000 }).toEqual({ status: "cannot_claim" });
  expect((await fetch(`${worker.url}/readyz`)).status).toBe(503);
  expect(await (await fetch(`${worker.url}/metrics`)).text()).toMatch(
    /^guildhall_worker_failures_total\{what="claim"\} [1-9]/m,
  );
  await owner.query(`GRANT ${claim} TO guildhall_ledger`);
  await expect.poll(ready, { timeout: 60_000 }).toEqual({ status: "ok" });
});

test("a job that fails is counted by its name and runs again, and one that goes well is told, too", async () => {
  const scheduler = await installation.start(["scheduler"], { POLL_MS: "100" });
  const owner = await installation.connectOwner();
  onTestFinished(async () => {
    await scheduler.kill();
    await owner.end();
  });
  const failures = async (job: string) => {
    const text = await (await fetch(`${scheduler.url}/metrics`)).text();
    const line = new RegExp(`^guildhall_job_failures_total\\{job="${job}"\\} (\\d+)$`, "m");
    return Number(line.exec(text)?.[1]);
  };
  expect(await failures("wake_due_runs")).toBe(0);
  // One of those that go one after the other, and one by itself.
  await owner.query("REVOKE EXECUTE ON FUNCTION wake_due_runs FROM guildhall_ledger");
  await owner.query("REVOKE DELETE ON outbox FROM guildhall_platform");
  for (const job of ["wake_due_runs", "relay_outbox"])
    await expect.poll(() => failures(job), { timeout: 60_000 }).toBeGreaterThan(1);
  expect(await failures("open_queues")).toBe(0);
  await owner.query("GRANT EXECUTE ON FUNCTION wake_due_runs TO guildhall_ledger");
  await owner.query("GRANT DELETE ON outbox TO guildhall_platform");
});

test("a process of some roles says which settings it lacks, and takes no provider's key that it has no use for", async () => {
  const none = readConfig({});
  expect(() => requireRoleSettings(none, allRoles)).not.toThrow();
  const wanted = (roles: string[], env: Record<string, string>) => {
    try {
      requireRoleSettings(readConfig(env), parseRoles(roles));
      return [];
    } catch (error) {
      return (error as { fields: { field: string }[] }).fields.map(({ field }) => field);
    }
  };
  const shared = { DATABASE_URL: "postgres://db/x", GUILDHALL_SECRET: "x".repeat(32) };
  expect(wanted(["worker,api"], {})).toEqual([
    "DATABASE_URL",
    "GUILDHALL_SECRET",
    "GATEWAY_URL",
    "GATEWAY_PUBLIC_URL",
  ]);
  expect(wanted(["gateway"], shared)).toEqual(["ANTHROPIC_API_KEY"]);
  expect(wanted(["gateway"], { ...shared, ANTHROPIC_API_KEY: "k" })).toEqual([]);
  expect(wanted(["gateway", "worker"], { ...shared, ANTHROPIC_API_KEY: "k" })).toEqual([]);
  expect(wanted(["scheduler"], shared)).toEqual([]);
  expect(wanted(["scheduler"], { ...shared, ANTHROPIC_API_KEY: "k" })).toEqual([
    "ANTHROPIC_API_KEY",
  ]);
  expect(wanted(["api"], { ...shared, GATEWAY_URL: "http://gateway:4001" })).toEqual([]);

  const result = await runGuildhall(["start", "--role", "worker", "--role", "painter"], {});
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/^✖ There is no role painter\..*api, worker, gateway, scheduler/);
});

test("a process that cannot start says why and ends, also when a launcher waits for it", async () => {
  const nowhere = { DATABASE_URL: "postgres://postgres:x@127.0.0.1:9/postgres" };
  await expect(installation.start(["scheduler"], nowhere)).rejects.toThrow(
    /ended before it was ready[^]*Postgres at 127\.0\.0\.1:\d+ cannot be reached/,
  );
});

test("a process with another secret than the installation's is refused, and shuts nobody out", async () => {
  const result = await runGuildhall(["start", "--role", "scheduler"], {
    ...installation.shared,
    GUILDHALL_SECRET: "another secret than the one of the installation",
  });
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/^✖ GUILDHALL_SECRET is not the one[^\n]+\n$/);
  const scheduler = await installation.start(["scheduler"]);
  expect((await fetch(`${scheduler.url}/readyz`)).status).toBe(200);
  expect(await scheduler.stop()).toBe(0);
});
