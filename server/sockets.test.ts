import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import { accessTokenSchema } from "@guildhall/sdk/contract/workspace.ts";
import { io, type Socket } from "socket.io-client";
import { afterAll, expect, it } from "vitest";
import { systemClock } from "./platform/clock.ts";
import { createJobFailures } from "./platform/job-failures.ts";
import { createLogger } from "./platform/log.ts";
import { createRequestLimits } from "./platform/request-limits.ts";
import { createSockets } from "./sockets.ts";
import { type Caller, startTestApi } from "./test/api.ts";
import { createClaimedRun, createQueuedRun } from "./test/tenant.ts";

type Browser = Socket<ServerToClient, ClientToServer>;

const api = await startTestApi();
const server = createServer();
const log = createLogger({ level: "silent" });
const sockets = createSockets({
  server,
  clock: systemClock,
  db: api.db,
  identity: api.identity,
  eventBell: api.eventBell,
  origins: [],
  requestLimits: createRequestLimits({
    TRUSTED_PROXIES: "127.0.0.1",
    RATE_LIMITS: "socket_connect=3/60, socket_message=4/60",
  }),
  log,
  failures: createJobFailures(log),
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
await sockets.start();
const browsers: Browser[] = [];
afterAll(async () => {
  for (const browser of browsers) browser.close();
  await sockets.close();
  server.close();
});

async function signIn(caller: Caller): Promise<string> {
  const link = await api.identity.createSignInLink(caller.userId);
  const answer = await api.send("POST", "/v1/auth/exchange", { json: { token: link.token } });
  return accessTokenSchema.parse(await answer.json()).access_token;
}

/** A browser at this address, as a proxy on this machine would pass it on. -> how its connecting ended */
async function connect(
  accessToken: string,
  address: string,
): Promise<{ browser: Browser; ok: boolean }> {
  const { port } = server.address() as AddressInfo;
  const browser: Browser = io(`http://127.0.0.1:${port}`, {
    path: "/v1/socket",
    transports: ["websocket"],
    reconnection: false,
    forceNew: true,
    auth: { access_token: accessToken },
    extraHeaders: { "x-forwarded-for": address },
  });
  browsers.push(browser);
  const ok = await new Promise<boolean>((resolve) => {
    browser.once("connect", () => resolve(true));
    browser.once("connect_error", () => resolve(false));
  });
  return { browser, ok };
}

it("one address opens so many sockets and no more, whoever it says it is; another address is not held up", async () => {
  const token = await signIn(await api.caller());
  const opened = [];
  for (let n = 0; n < 4; n++) opened.push((await connect(token, "9.0.0.1")).ok);
  expect(opened).toEqual([true, true, true, false]);
  // The /64 of an IPv6 address is one address.
  for (let n = 0; n < 3; n++) await connect("junk", `2001:db8:9:9::${n}`);
  expect((await connect(token, "2001:db8:9:9:ffff::1")).ok).toBe(false);
  expect((await connect(token, "9.0.0.2")).ok).toBe(true);
});

it("who sends more messages than allowed is cut off, over all sockets of the user; others go on", async () => {
  const caller = await api.caller();
  const { taskId } = await createQueuedRun(api.admin, caller);
  const token = await signIn(caller);
  const { browser: first } = await connect(token, "9.0.1.1");
  const { browser: second } = await connect(token, "9.0.1.2");
  const follow = (browser: Browser) =>
    browser.timeout(5_000).emitWithAck("follow", { task_id: taskId, after: 0 });
  for (let n = 0; n < 4; n++)
    expect(await follow(n % 2 ? first : second)).toMatchObject({ ok: true });
  const ended = new Promise<string>((resolve) => second.once("disconnect", resolve));
  second.emit("unfollow", { task_id: taskId });
  expect(await ended).toBe("io server disconnect");

  const other = await api.caller();
  const { browser } = await connect(await signIn(other), "9.0.1.3");
  const { taskId: own } = await createQueuedRun(api.admin, other);
  const answer = await browser.timeout(5_000).emitWithAck("follow", { task_id: own, after: 0 });
  expect(answer).toMatchObject({ ok: true });
});

it.each([
  ["as many as are far from what a browser is dropped for", 8_000, 100],
  ["one, however long it is", 300_000, 3],
])(
  "the answer to a follow has the first of many long events: %s",
  async (_what, length, pieces) => {
    const caller = await api.caller();
    const { taskId, runId, epoch } = await createClaimedRun(api.admin, caller);
    const { browser } = await connect(await signIn(caller), "9.0.2.1");
    const said = Array.from({ length: pieces }, () => ({
      type: "model.text",
      data: { step: 1, text: "x".repeat(length) },
    }));
    const last = await api.db.withWorkspace(caller.workspaceId, async (tx) => {
      const [row] = await tx.query<{ last: number }>({
        text: "SELECT append_run_events($1, $2, $3) AS last",
        values: [runId, epoch, JSON.stringify(said)],
      });
      return row!.last;
    });
    const after = last - pieces;
    const answer = await browser.emitWithAck("follow", { task_id: taskId, after });
    if (!answer.ok) throw new Error(answer.code);
    expect(answer.last_seq).toBe(last);
    const seqs = answer.events.map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, index) => after + 1 + index));
    expect(seqs.length).toBeGreaterThan(0);
    expect(seqs.length).toBeLessThan(pieces);
    expect(JSON.stringify(answer.events).length).toBeLessThan(500_000);
  },
);
