import { createClient } from "@guildhall/sdk/client/client.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { suspendWorkspace } from "../server/operator/workspaces.ts";
import type { RoleProcess } from "../server/test/role-processes.ts";
import { askModel } from "./requests.ts";
import { countOf, openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const stage = await openStage();
afterAll(() => stage.close());
await stage.startWorker();

const work = { agent: "gray", prompt: "Look around" };

/** Another API; the stage's own one stays. */
async function apiForTest(env: Readonly<Record<string, string>> = {}): Promise<RoleProcess> {
  const api = await stage.start(["api"], { GATEWAY_URL: stage.gateway.gatewayUrl, ...env });
  onTestFinished(() => api.kill());
  return api;
}

const askBy = (token: string) => askModel(stage.gateway.gatewayUrl, token);

const killed = (api: RoleProcess) => until(() => api.process.signalCode === "SIGKILL");

/** How many tasks the workspace has, and how many audit lines tell of one being made. */
async function counted() {
  const [row] = await stage.db.withPlatform((tx) =>
    tx.query<{ tasks: number; audited: number }>({
      text: `SELECT (SELECT count(*)::int FROM tasks) AS tasks,
        (SELECT count(*)::int FROM audit_lines WHERE action = 'task.created') AS audited`,
      values: [],
    }),
  );
  return row;
}

test.each([
  ["before the answer is stored", "task.made"],
  ["before the commit", "answer.stored"],
  ["after the commit", "task.committed"],
])(
  "F06 an API is killed while it takes a task on, %s: repeated with the same key it is one task",
  async (_when, point) => {
    const before = await counted();
    const doomed = await apiForTest({ FAULT_AT: point });
    const key = crypto.randomUUID();
    const token = await stage.createKey();
    const lost = await fetch(`${doomed.url}/v1/tasks`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        "idempotency-key": key,
      },
      body: JSON.stringify(work),
    }).catch(() => undefined);
    expect(lost).toBeUndefined();
    await killed(doomed);
    const other = createClient({ baseUrl: stage.api.url, token });
    const task = await other.tasks.create(work, key);
    expect(await other.tasks.create(work, key)).toEqual(task);
    await stage.succeeds(task.id);
    const { tasks = 0, audited = 0 } = before ?? {};
    expect(await counted()).toEqual({ tasks: tasks + 1, audited: audited + 1 });
    await stage.lawsHold();
  },
);

test("F07 an API dies between the commit and the bell: the task starts all the same, once", async () => {
  const doomed = await apiForTest({ FAULT_AT: "task.committed" });
  const client = createClient({ baseUrl: doomed.url, token: await stage.createKey() });
  const known = new Set((await stage.client.tasks.list()).data.map(({ id }) => id));
  await expect(client.tasks.create(work)).rejects.toThrow();
  await killed(doomed);
  const made = (await stage.client.tasks.list()).data.filter(({ id }) => !known.has(id));
  expect(made).toHaveLength(1);
  const [{ id } = { id: "" }] = made;
  await stage.succeeds(id);
  const events = await stage.eventsOf(id);
  expect(countOf(events, "run.claimed")).toBe(1 + countOf(events, "run.lease_lost"));
  await stage.lawsHold();
});

test("F37 a key is revoked at one API while it is used at another and at the gateway: both are shut to it", async () => {
  const second = await apiForTest();
  const { key: token, id } = await stage.client.apiKeys.create({
    name: "Leaked",
    scopes: ["tasks:read", "models:invoke"],
  });
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 3_600_000, times: 1 }]);
  const task = await stage.client.tasks.create(work);
  await stage.callIsOpen();
  expect((await askBy(token)).status).toBe(200);
  const stream = await fetch(`${second.url}/v1/tasks/${task.id}/events/stream`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(stream.status).toBe(200);
  await stage.client.apiKeys.revoke(id);
  // It ends though the task has not.
  await stream.text();
  expect((await stage.client.tasks.get(task.id)).ended_at).toBeNull();
  const read = await fetch(`${second.url}/v1/tasks/${task.id}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(read.status).toBe(401);
  await until(async () => (await askBy(token)).status === 401);
  await stage.client.tasks.cancel(task.id);
  // Its call would be read to its end, which never comes.
  stage.gateway.links.provider.reset();
});

test("F37 a workspace is suspended in the middle of a run: its next model call is refused, and the run goes on when it may", async () => {
  const { workspaceId } = stage;
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 1_000, times: 1 }]);
  const task = await stage.client.tasks.create(work);
  await stage.callIsOpen();
  await suspendWorkspace(stage.db, { workspaceId, suspend: true });
  await until(async () => (await stage.client.tasks.get(task.id)).state === "paused");
  const { calls } = stage.simulator.meter.report().totals;
  expect((await askBy(await stage.createKey())).status).toBeGreaterThanOrEqual(400);
  expect(stage.simulator.meter.report().totals.calls).toBe(calls);
  await suspendWorkspace(stage.db, { workspaceId, suspend: false });
  await stage.succeeds(task.id);
  await stage.lawsHold();
});
