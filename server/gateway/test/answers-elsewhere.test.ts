import { once } from "node:events";
import { afterAll, describe, expect, test } from "vitest";
import { createLedger } from "../../ledger/ledger.ts";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun } from "../../test/tenant.ts";
import {
  expectLaws,
  holdsOf,
  post,
  quiet,
  SMALL,
  startBoth,
  startGateway,
  startProvider,
  startRun,
} from "./gateway-fixture.ts";
import { startGatewayProcess } from "./kill-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));
const slow = { latency: { firstByteMs: 0, perEventMs: 20 } };
const retry = { "x-stainless-retry-count": "1" };
const body = { ...SMALL, stream: true };

/** Two gateways before a provider that takes some seconds. */
async function startTwo() {
  const one = await startBoth(database, { provider: slow });
  const two = await startGateway(database, { upstreamUrl: one.providerUrl });
  return { one, two, calls: () => one.simulator.meter.report().totals.calls };
}

/** Calls, and leaves when the first bytes of the answer have come. */
async function leaveEarly(url: string, token: string): Promise<void> {
  const leaving = new AbortController();
  const response = await post(url, { token, body, signal: leaving.signal });
  const reader = response.body!.getReader();
  await reader.read();
  leaving.abort();
  await reader.read().catch(() => {});
}

/** A call whose client stays, without reading what comes. */
async function begin(url: string, token: string, changes: object = {}): Promise<Response> {
  return post(url, { token, body: { ...body, ...changes } });
}

describe("a call that is repeated at another gateway while the first still reads the answer", () => {
  test("waits for that answer and gets it, so that nothing is bought twice", async () => {
    const { one, two, calls } = await startTwo();
    const run = await startRun(database);
    await leaveEarly(one.url, run.token);
    expect((await holdsOf(database, run))[0]!.state).toBe("DISPATCHED");
    const again = await post(two.url, { token: run.token, body, headers: retry });
    expect(again.headers.get("guildhall-replayed")).toBe("true");
    expect(await again.text()).toContain("message_stop");
    expect(await holdsOf(database, run)).toHaveLength(1);
    expect(calls()).toBe(1);
    // Once: an equal call on purpose is a new one.
    const fresh = await post(two.url, { token: run.token, body, headers: retry });
    await fresh.text();
    expect(fresh.headers.get("guildhall-replayed")).toBeNull();
    expect(calls()).toBe(2);
  });

  test("gets the answer also where the first has not noticed that its client is gone", async () => {
    const { one, two, calls } = await startTwo();
    const run = await startRun(database);
    const first = await begin(one.url, run.token);
    const again = await post(two.url, { token: run.token, body, headers: retry });
    expect(again.headers.get("guildhall-replayed")).toBe("true");
    expect(await again.text()).toContain("message_stop");
    await first.text();
    expect(calls()).toBe(1);
  });

  test("of ten repetitions at once one gets the answer, and the others are new calls, each paid for once", async () => {
    const { one, two, calls } = await startTwo();
    const run = await startRun(database);
    await leaveEarly(one.url, run.token);
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => post(two.url, { token: run.token, body, headers: retry })),
    );
    for (const answer of answers) expect(await answer.text()).toContain("message_stop");
    const replayed = answers.filter((answer) => answer.headers.get("guildhall-replayed") !== null);
    expect(replayed).toHaveLength(1);
    expect(calls()).toBe(10);
    expect(await quiet(database, run)).toHaveLength(10);
  });

  test("by a later attempt of the run, whose first call says nothing of a repetition, waits too", async () => {
    const { one, two, calls } = await startTwo();
    const run = await startRun(database);
    await leaveEarly(one.url, run.token);
    const next = await claimRun(database.admin, run);
    const again = await post(two.url, { token: next.token, body });
    expect(again.headers.get("guildhall-replayed")).toBe("true");
    await again.text();
    expect(calls()).toBe(1);
  });

  test("is made anew when the answer breaks off, and when the other gateway is killed", async () => {
    const provider = await startProvider(slow);
    const { url, child } = await startGatewayProcess(database, {
      upstreamUrl: provider.url,
      faultAt: "",
    });
    const two = await startGateway(database, { upstreamUrl: provider.url });
    const run = await startRun(database);
    await leaveEarly(url, run.token);
    const waiting = post(two.url, { token: run.token, body, headers: retry });
    const killed = once(child, "exit");
    child.kill("SIGKILL");
    await killed;
    const reaper = createLedger({ db: database.db, processId: "wrk_reaper" });
    await reaper.reapHolds({ deadAfterMs: 0, heldForMs: 0, atMost: 100 });
    const again = await waiting;
    expect(again.headers.get("guildhall-replayed")).toBeNull();
    expect(await again.text()).toContain("message_stop");
    const holds = await quiet(database, run);
    expect(holds.map(({ state }) => state)).toEqual(["PROVISIONAL", "SETTLED"]);
  });

  test("ends when its client has gone", async () => {
    const { one, two, calls } = await startTwo();
    const run = await startRun(database);
    await leaveEarly(one.url, run.token);
    await post(two.url, {
      token: run.token,
      body,
      headers: retry,
      signal: AbortSignal.timeout(300),
    }).catch(() => undefined);
    await quiet(database, run);
    expect(calls()).toBe(1);
  });
});

describe("what does not repeat an open call is not held up", () => {
  test("another call of the run, of another model, longer, or without saying that it repeats one", async () => {
    const { one, two, calls } = await startTwo();
    const run = await startRun(database);
    const first = await begin(one.url, run.token);
    const others = [
      await post(two.url, { token: run.token, body }),
      await post(two.url, {
        token: run.token,
        body: { ...body, model: "claude-haiku-4-5" },
        headers: retry,
      }),
      await post(two.url, { token: run.token, body: { ...body, max_tokens: 100 }, headers: retry }),
    ];
    expect(
      (await holdsOf(database, run)).filter(({ state }) => state === "DISPATCHED"),
    ).toHaveLength(4);
    for (const answer of [first, ...others]) await answer.text();
    expect(calls()).toBe(4);
  });

  test("a token that is not valid learns of no call and waits for none", async () => {
    const { one, two } = await startTwo();
    const run = await startRun(database);
    const first = await begin(one.url, run.token);
    const wrong = `${run.token.slice(0, -4)}AAAA`;
    const refused = await post(two.url, { token: wrong, body, headers: retry });
    expect(refused.status).toBe(401);
    await first.text();
  });
});
