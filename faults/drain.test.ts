import { createClient } from "@guildhall/sdk/client/client.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { openInstallationOfRoles, type RoleProcess } from "../server/test/role-processes.ts";

// A start takes two seconds on a free machine, and many times that on one that runs a whole suite.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

// Leases that never run out and polls that never come: only a hand-over lets another worker go on.
const installation = await openInstallationOfRoles({
  POLL_MS: "600000",
  HEARTBEAT_MS: "60000",
  LEASE_MS: "600000",
  DRAIN_MS: "20000",
});
// Before anything is started, so that a start that fails leaves nothing behind.
afterAll(() => installation.close());
const key = await installation.createKey();
const authorization = { authorization: `Bearer ${key}` };
const gateway = await installation.start(["gateway"]);
const to = { GATEWAY_URL: gateway.gatewayUrl };
const api = await installation.start(["api"], to);
const client = createClient({ baseUrl: api.url, token: key });

const until = (look: () => boolean | Promise<boolean>) => vi.waitUntil(look, 120_000);

async function eventsOf(taskId: string): Promise<Event[]> {
  return (await client.tasks.events(taskId, { after: 0 })).data;
}

async function has(taskId: string, type: Event["type"]): Promise<boolean> {
  return (await eventsOf(taskId)).some((event) => event.type === type);
}

async function startForTest(...args: Parameters<typeof installation.start>): Promise<RoleProcess> {
  const started = await installation.start(...args);
  onTestFinished(() => started.kill());
  return started;
}

/** A model call by key, streamed. */
const stream = (url: string) =>
  fetch(`${url}/v1/messages`, {
    method: "POST",
    headers: {
      "x-api-key": key,
      "anthropic-version": "2023-06-01",
      "content-type": "application/json",
    },
    body: JSON.stringify({
      model: "claude-sonnet-5-5",
      max_tokens: 64,
      stream: true,
      messages: [{ role: "user", content: "Say hello" }],
    }),
  });

test("F32 a worker that is told to end hands its run over, and another one goes on at once with the same step", async () => {
  const first = await startForTest(["worker"], { ...to, DRAIN_MS: "300" });
  // The call hangs, so the drain passes without the step having ended.
  await installation.setFaults([{ kind: "stall", before_event: 3, ms: 4_000, times: 1 }]);
  const task = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  await until(() => has(task.id, "run.claimed"));
  await until(async () => (await installation.openHolds()) > 0);
  const stopped = first.stop();
  const second = await startForTest(["worker"], to);
  await until(() => has(task.id, "task.succeeded"));
  expect(await stopped).toBe(0);
  const types = (await eventsOf(task.id)).map((event) => event.type);
  expect(types.filter((type) => type === "run.claimed")).toHaveLength(2);
  expect(types.filter((type) => type === "task.succeeded")).toHaveLength(1);
  // A hand-over is no failure of the run.
  expect(await installation.attemptsLost(task.id)).toBe(0);
  expect(await second.stop()).toBe(0);
});

test("F32 a worker that drains claims nothing more; what is made meanwhile waits for another one", async () => {
  const first = await startForTest(["worker"], to);
  await installation.setFaults([{ kind: "stall", before_event: 3, ms: 3_000, times: 1 }]);
  const open = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  await until(() => has(open.id, "run.claimed"));
  const stopped = first.stop();
  await until(() => first.output().includes("stopping"));
  const later = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  expect(await stopped).toBe(0);
  expect((await client.tasks.get(later.id)).state).toBe("queued");
  await startForTest(["worker"], to);
  for (const { id } of [open, later]) await until(() => has(id, "task.succeeded"));
});

test("F32 an API that is told to end is not ready at once, answers what still comes and what is open, and sends sockets away", async () => {
  const ending = await startForTest(["api"], { ...to, DRAIN_NOTICE_MS: "4000" });
  const task = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  await client.tasks.cancel(task.id);
  const { last_seq: lastSeq } = await client.tasks.events(task.id, { after: 0 });
  const quiet = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  const waiting = fetch(
    `${ending.url}/v1/tasks/${quiet.id}/events?after=${lastSeq + 100}&wait_ms=30000`,
    { headers: authorization },
  );
  const page = await installation.openPage(ending.url);
  onTestFinished(() => void page.close());
  const left = new Promise((resolve) => page.once("disconnect", resolve));
  const stopped = ending.stop();
  await until(async () => (await fetch(`${ending.url}/readyz`)).status === 503);
  expect((await fetch(`${ending.url}/healthz`)).status).toBe(200);
  const late = await fetch(`${ending.url}/v1/me`, { headers: authorization });
  expect(late.status).toBe(200);
  expect(late.headers.get("connection")).toBe("close");
  expect((await waiting).status).toBe(200);
  // The reason after which the client connects again by itself.
  expect(await left).toBe("transport close");
  expect(await stopped).toBe(0);
  await client.tasks.cancel(quiet.id);
});

test("F32 a gateway that is told to end lets open streams come to their end, and breaks off what outlasts the drain, charged as held", async () => {
  const ending = await startForTest(["gateway"]);
  await installation.setFaults([{ kind: "stall", before_event: 3, ms: 2_000, times: 1 }]);
  const whole = await stream(ending.gatewayUrl);
  if (whole.status !== 200) throw new Error(await whole.text());
  const stopped = ending.stop();
  await until(async () => (await fetch(`${ending.gatewayUrl}/readyz`)).status === 503);
  expect(await whole.text()).toContain("message_stop");
  expect(await stopped).toBe(0);

  const short = await startForTest(["gateway"], { DRAIN_MS: "500" });
  await installation.setFaults([{ kind: "stall", before_event: 3, ms: 3_600_000, times: 1 }]);
  const cut = await stream(short.gatewayUrl);
  expect(cut.status).toBe(200);
  expect(await short.stop()).toBe(0);
  const text = await cut.text().catch(() => "broken off");
  expect(text).not.toContain("message_stop");
  expect(await installation.brokenLaws()).toEqual([]);
});
