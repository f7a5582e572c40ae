import { createClient } from "@guildhall/sdk/client/client.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { openFaultProxy } from "../server/test/fault-proxy.ts";
import { createClaimedRun } from "../server/test/tenant.ts";
import { reduceAll } from "../web/events/reducer.ts";
import { emptyTaskView } from "../web/events/task-view.ts";
import { createRealtime, type Realtime } from "../web/realtime/realtime.ts";
import { residentBytes } from "./figures.ts";
import { openRawBrowser, type RawBrowser } from "./raw-browser.ts";
import { openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const stage = await openStage({
  RATE_LIMITS: [
    "create_task=off, change=off, user=off, address=off",
    "socket_connect=off, socket_message=off",
  ].join(", "),
});
afterAll(() => stage.close());
const { client, workspaceId, userId, identity } = stage;
const key = await stage.createKey();

async function signIn(): Promise<string> {
  const { token } = await identity.createSignInLink(userId);
  return (await identity.sessions.exchange({ token, origin: "local" })).accessToken;
}

const target = (url: string) => ({ host: "127.0.0.1", port: Number(new URL(url).port) });

/** An address before the API at which a page stays, whichever process is behind it. */
async function openAddress(url: string) {
  const link = await openFaultProxy(target(url));
  onTestFinished(() => link.close());
  return { link, url: `http://127.0.0.1:${link.port}` };
}

/** What the page itself does to follow tasks. */
async function openPage(url: string): Promise<Realtime> {
  const own = createClient({ baseUrl: url, token: key });
  const page = createRealtime({
    url,
    token: signIn,
    renewToken: signIn,
    async readEvents({ taskId, after }) {
      const { data, last_seq: lastSeq, closed } = await own.tasks.events(taskId, { after });
      return { events: data, lastSeq, closed };
    },
    onTask: () => undefined,
    onState: () => undefined,
    onSocketFailed: () => undefined,
    pollMs: 500,
  });
  onTestFinished(() => page.close());
  return page;
}

async function allEvents(taskId: string): Promise<Event[]> {
  const events: Event[] = [];
  for (;;) {
    const page = await client.tasks.events(taskId, { after: events.at(-1)?.seq ?? 0 });
    if (page.data.length === 0) return events;
    events.push(...page.data);
  }
}

/** A run that this test executes itself, and says as much as it likes. */
async function openTalk() {
  const owner = await stage.connectOwner();
  const tenant = { workspaceId, userId, billingAccountId: "", agentId: "gray" };
  const { taskId, runId, epoch } = await createClaimedRun(owner, tenant);
  await owner.end();
  return {
    taskId,
    /** So many pieces of so many bytes. */
    say: (pieces: number, bytes: number): Promise<unknown> =>
      stage.db.withWorkspace(workspaceId, (tx) =>
        tx.query({
          text: "SELECT append_run_events($1, $2, $3)",
          values: [
            runId,
            epoch,
            JSON.stringify(
              Array.from({ length: pieces }, () => ({
                type: "model.text",
                data: { step: 1, text: "x".repeat(bytes) },
              })),
            ),
          ],
        }),
      ),
    end: () => client.tasks.cancel(taskId),
  };
}

const SOCKETS = process.env["CI"] ? 300 : 1_000;
const MiB = 1_048_576;
/** What a kernel may take in for one connection by itself is far less. */
const MOST_SAID = 48 * MiB;

test("F29 one of many browsers reads nothing: it is dropped, memory stays bounded, the others hear all, and it resumes", async () => {
  const { url } = stage.api;
  const token = await signIn();
  const [talk, small] = [await openTalk(), await openTalk()];
  const browsers: RawBrowser[] = [];
  for (let n = 0; n < SOCKETS; n++) browsers.push(await openRawBrowser(url, token));
  onTestFinished(() => browsers.forEach((browser) => browser.close()));
  const [stuck, ...others] = browsers;
  for (const browser of others) browser.follow(small.taskId, 0);
  stuck!.follow(talk.taskId, 0);
  await until(() => stuck!.received().includes(talk.taskId));
  stuck!.stopReading();
  const { stream } = (await openPage(url)).follow(talk.taskId);
  await until(() => stream.view().lastSeq > 0);

  const before = await residentBytes(stage.api);
  let most = before;
  let said = 0;
  while (stuck!.isOpen() && said < MOST_SAID) {
    await talk.say(64, 16_384);
    said += MiB;
    const { last_seq: lastSeq } = await client.tasks.get(talk.taskId);
    await until(() => stream.view().lastSeq >= lastSeq);
    most = Math.max(most, await residentBytes(stage.api));
  }
  expect(stuck!.isOpen()).toBe(false);
  expect(most - before).toBeLessThan(150 * MiB);

  await small.say(1, 7);
  await until(() => others.every((browser) => browser.received().includes("xxxxxxx")));
  const resumed = (await openPage(url)).follow(talk.taskId).stream;
  await until(() => resumed.view().lastSeq === stream.view().lastSeq);
  expect(resumed.view()).toEqual(
    reduceAll(emptyTaskView(talk.taskId), await allEvents(talk.taskId)),
  );
  await Promise.all([talk.end(), small.end()]);
  await stage.lawsHold();
});

const RESTARTS = 3;

test("F30 the API is killed again and again under pages that follow runs: they show what the table says, with no gap and nothing twice", async () => {
  const env = { GATEWAY_URL: stage.gateway.gatewayUrl };
  let api = await stage.start(["api"], env);
  const address = await openAddress(api.url);
  const pages = await Promise.all(Array.from({ length: 3 }, () => openPage(address.url)));
  await Promise.all([stage.startWorker(), stage.startWorker()]);
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 200 }]);
  const taskIds: string[] = [];
  const streams: { taskId: string; stream: ReturnType<Realtime["follow"]>["stream"] }[] = [];
  for (let n = 0; n < RESTARTS; n++) {
    for (let task = 0; task < 4; task++) {
      const { id } = await client.tasks.create({ agent: "gray", prompt: "Look around" });
      taskIds.push(id);
      for (const page of pages) streams.push({ taskId: id, stream: page.follow(id).stream });
    }
    // Of the newest something was shown.
    await until(() => streams.at(-1)!.stream.view().lastSeq > 1);
    await api.kill();
    api = await stage.start(["api"], env);
    address.link.aimAt(target(api.url));
  }
  for (const id of taskIds) await stage.succeeds(id);
  for (const { taskId, stream } of streams) {
    await until(() => stream.closed());
    expect(stream.view()).toEqual(reduceAll(emptyTaskView(taskId), await allEvents(taskId)));
  }
  await stage.lawsHold();
});
