import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { io, type Socket } from "socket.io-client";
import { afterAll, expect, it, vi } from "vitest";
import { systemClock } from "../platform/clock.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { type ClaimedRun, createClaimedRun, createTenant } from "../test/tenant.ts";
import { newestPosition, readFeed } from "./feed.ts";
import type { SocketSession } from "./fan-out.ts";
import { createRealtime } from "./realtime.ts";
import { createSocketTime } from "./socket-time.ts";

/** What is waited for comes at once; so long only on a machine that has much else to do. */
const PATIENCE = { timeout: 20_000 };

type Browser = Socket<ServerToClient, ClientToServer>;

const { db, admin, settled } = await createTestDatabase();
const sessions = new Map<string, SocketSession>();
const server: Server = createServer();
const socketTime = createSocketTime({ db, clock: systemClock, nodeId: "wrk_sockets" });
const closedIn: string[] = [];
const realtime = createRealtime({
  clock: systemClock,
  socketTime: {
    opened(workspaceId) {
      const close = socketTime.opened(workspaceId);
      return () => {
        close();
        closedIn.push(workspaceId);
      };
    },
  },
  server,
  db,
  log: createLogger({ level: "silent" }),
  authenticate: (token) => Promise.resolve(sessions.get(token)),
  async tailOf(workspaceId, taskId, after) {
    const rows = await db.withWorkspace(workspaceId, (tx) =>
      tx.query<Event>({
        text: `SELECT stream_id, seq, type, data, at FROM events WHERE stream_id = $1 AND seq > $2 ORDER BY seq`,
        values: [taskId, after],
      }),
    );
    const lastSeq = rows.at(-1)?.seq;
    return lastSeq === undefined ? undefined : { events: rows, lastSeq };
  },
  tasksOf: (_, ids) => Promise.resolve(ids.map((id) => ({ id }) as Task)),
  origins: ["http://127.0.0.1"],
  pollMs: 20,
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
await realtime.start();
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const browsers: Browser[] = [];

afterAll(async () => {
  for (const browser of browsers) browser.close();
  await realtime.close();
  server.close();
});

function open(token: string, headers: Record<string, string> = {}): Browser {
  const browser: Browser = io(url, {
    path: "/v1/socket",
    transports: ["websocket"],
    auth: { access_token: token },
    reconnection: false,
    forceNew: true,
    extraHeaders: headers,
  });
  browsers.push(browser);
  return browser;
}

async function connected(browser: Browser): Promise<Browser> {
  await new Promise<void>((resolve, reject) => {
    browser.once("connect", resolve);
    browser.once("connect_error", reject);
  });
  return browser;
}

async function workspaceWithRun(token: string): Promise<ClaimedRun> {
  const tenant = await createTenant(admin);
  sessions.set(token, {
    workspaceId: tenant.workspaceId,
    userId: tenant.userId,
    expiresAtMs: Date.now() + 900_000,
  });
  return createClaimedRun(admin, tenant);
}

async function say(run: ClaimedRun, text: string): Promise<void> {
  await db.withWorkspace(run.workspaceId, (tx) =>
    tx.query({
      text: `SELECT append_run_events($1, $2, $3)`,
      values: [
        run.runId,
        run.epoch,
        JSON.stringify([{ type: "model.text", data: { step: 1, text } }]),
      ],
    }),
  );
}

/** What a browser that drops repetitions has seen, by sequence number. */
function collect(browser: Browser): Map<number, Event> {
  const seen = new Map<number, Event>();
  browser.on("events", (batch) => {
    for (const event of batch.events) seen.set(event.seq, event);
  });
  return seen;
}

async function follow(
  browser: Browser,
  taskId: string,
): Promise<{ ok: boolean; events?: Event[] }> {
  return browser.emitWithAck("follow", { task_id: taskId, after: 0 });
}

it("a follower gets the tail and then every event, in order and without a gap", async () => {
  const run = await workspaceWithRun("order");
  const browser = await connected(open("order"));
  const seen = collect(browser);
  const answer = await follow(browser, run.taskId);
  for (const event of answer.events ?? []) seen.set(event.seq, event);
  for (let n = 0; n < 30; n++) await say(run, `word ${n}`);
  await vi.waitUntil(() => seen.size === 32, PATIENCE);
  expect([...seen.keys()].toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 32 }, (_, n) => n + 1),
  );
});

it("an event that commits after a later one is not skipped", async () => {
  const slow = await workspaceWithRun("late");
  const fast = await workspaceWithRun("early");
  await settled();
  const from = await newestPosition(db);
  await db.withWorkspace(slow.workspaceId, async (tx) => {
    await tx.query({
      text: `SELECT append_run_events($1, $2, $3)`,
      values: [
        slow.runId,
        slow.epoch,
        JSON.stringify([{ type: "model.text", data: { step: 1, text: "slow" } }]),
      ],
    });
    // Takes a higher position and commits first: a reader that went past it would never see the other.
    await say(fast, "fast");
    expect(await readFeed(db, from)).toMatchObject({ events: [], position: from });
  });
  await vi.waitUntil(async () => (await readFeed(db, from)).events.length === 2, PATIENCE);
});

it("a socket sees nothing of another workspace, also when it knows the task's id", async () => {
  const mine = await workspaceWithRun("mine");
  const theirs = await workspaceWithRun("theirs");
  const browser = await connected(open("mine"));
  const seen = collect(browser);
  const tasks: string[] = [];
  browser.on("task", (task) => tasks.push(task.id));
  expect(await follow(browser, theirs.taskId)).toEqual({ ok: false, code: "task_not_found" });
  expect(await follow(browser, mine.taskId)).toMatchObject({ ok: true });
  await say(theirs, "secret");
  await say(mine, "own");
  await vi.waitUntil(() => seen.size > 0, PATIENCE);
  expect(JSON.stringify([...seen.values()])).not.toContain("secret");
  expect(tasks).not.toContain(theirs.taskId);
});

it.each([
  ["an unknown token", "nobody", {}],
  ["a page of a foreign origin", "order", { origin: "https://evil.example" }],
])("%s gets no connection", async (_, token, headers) => {
  await expect(connected(open(token, headers))).rejects.toThrow();
});

it("a socket ends with its token, and goes on with a fresh one of the same person only", async () => {
  const run = await workspaceWithRun("long");
  await workspaceWithRun("stranger");
  const session = sessions.get("long")!;
  sessions.set("short", { ...session, expiresAtMs: Date.now() + 300 });
  const ending = await connected(open("short"));
  const renewed = await connected(open("short"));
  expect(await renewed.emitWithAck("authenticate", { access_token: "stranger" })).toEqual({
    ok: false,
  });
  expect(await renewed.emitWithAck("authenticate", { access_token: "long" })).toEqual({ ok: true });
  await vi.waitUntil(() => !ending.connected, PATIENCE);
  expect(renewed.connected).toBe(true);
  expect(await follow(renewed, run.taskId)).toMatchObject({ ok: true });
});

it("what is no message of the protocol is refused and breaks nothing", async () => {
  await workspaceWithRun("odd");
  const browser = await connected(open("odd"));
  const anything = browser as unknown as {
    emitWithAck(name: string, ...args: unknown[]): Promise<unknown>;
    emit(name: string, ...args: unknown[]): void;
  };
  anything.emit("follow");
  anything.emit("follow", 7, 8);
  anything.emit("unfollow", null);
  anything.emit("authenticate", { access_token: 1 });
  anything.emit("join", "workspace:ws_other");
  expect(await anything.emitWithAck("follow", { task_id: 5 })).toEqual({
    ok: false,
    code: "validation_failed",
  });
  expect(browser.connected).toBe(true);
});

it("an open socket counts for its workspace, and no longer once it has closed", async () => {
  const run = await workspaceWithRun("tok-counted");
  const counted = async (): Promise<number> => {
    await socketTime.flush();
    const { rows } = await admin.query<{ ms: number }>(
      "SELECT coalesce(sum(open_ms), 0)::int AS ms FROM socket_time WHERE workspace_id = $1",
      [run.workspaceId],
    );
    return rows[0]!.ms;
  };
  expect(await counted()).toBe(0);
  const browser = await connected(open("tok-counted"));
  await expect.poll(counted).toBeGreaterThan(0);
  browser.close();
  await expect.poll(() => closedIn).toContain(run.workspaceId);
  const sum = await counted();
  expect(await counted()).toBe(sum);
});
