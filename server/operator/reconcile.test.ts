import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { startGatewayProcess } from "../gateway/test/kill-fixture.ts";
import {
  expectLaws,
  holdsOf,
  post,
  SMALL,
  startBoth,
  startProvider,
  startRun,
} from "../gateway/test/gateway-fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { createReconcile, judge } from "./reconcile.ts";
import { createSimulatedUsageReport, type UsageReport } from "./usage-report.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));
const { db } = database;
const ledger = createLedger({ db, processId: "wrk_reconciler" });
const log = createLogger({ level: "silent" });

function reconcileWith(providerUrl: string, lagMs = 0) {
  const report = { ...createSimulatedUsageReport(providerUrl), lagMs };
  return createReconcile({ db, ledger, report, log });
}

/** A call on a gateway that is killed at this point, charged in full as of a dead process. */
async function lostCall(faultAt: string) {
  const provider = await startProvider();
  const { url, child, processId } = await startGatewayProcess(database, {
    upstreamUrl: provider.url,
    faultAt,
  });
  const run = await startRun(database);
  const exit = new Promise((resolve) => child.once("exit", resolve));
  await post(url, { token: run.token, body: { ...SMALL, stream: true } })
    .then((response) => response.text())
    .catch(() => "broken off");
  await exit;
  await ledger.reapHolds({ deadAfterMs: 0, heldForMs: 0, atMost: 100 });
  const [hold] = await holdsOf(database, run);
  expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
  return { run, provider, processId, hold: hold! };
}

describe("a provisional charge", () => {
  test("is lowered to what the provider reports of the call, with the counts that explain it", async () => {
    const { run, provider } = await lostCall("gateway.answered");
    const cost = provider.simulator.meter.report().totals.cost_nano_usd;
    const reconcile = reconcileWith(provider.url);
    expect(await reconcile.run()).toMatchObject({ reported: 1, neverSeen: 0 });
    const [hold] = await holdsOf(database, run);
    expect(hold).toMatchObject({ state: "SETTLED", posted: cost, usage: { reconciled: true } });
    expect(await reconcile.run()).toMatchObject({ seen: 0 });
  });

  test("of a call that was never sent stays while its sender may live, and is returned when it has ended", async () => {
    const { run, provider, processId } = await lostCall("gateway.held");
    const reconcile = reconcileWith(provider.url);
    expect(await reconcile.run()).toMatchObject({ seen: 1, reported: 0, neverSeen: 0 });
    expect(await holdsOf(database, run)).toMatchObject([{ state: "PROVISIONAL" }]);
    await ledger.processEnded(processId);
    // A report of the moment of its death may not have the last of what it sent.
    expect(await reconcileWith(provider.url, 60_000).run()).toMatchObject({ neverSeen: 0 });
    await delay(2);
    expect(await reconcile.run()).toMatchObject({ seen: 1, neverSeen: 1 });
    expect(await holdsOf(database, run)).toMatchObject([{ state: "SETTLED", posted: 0 }]);
  });

  test("is settled under the id by which the provider knows the call, when that answered", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const response = await post(url, { token: run.token, body: SMALL });
    await response.text();
    const [hold] = await holdsOf(database, run);
    const [row] = simulator.meter.report().calls;
    expect(row).toMatchObject({
      client_request_id: hold!.id,
      request_id: hold!.usage!["request_id"],
    });
  });
});

describe("what a report proves", () => {
  const dispatchedAt = new Date("2026-11-25T10:00:00Z");
  const later = (seconds: number) => new Date(dispatchedAt.getTime() + seconds * 1_000);
  const call = { requestId: "req_1", final: true, costNanoUsd: 7, usage: { input_tokens: 1 } };
  const report = (changes: Partial<UsageReport> = {}): UsageReport => ({
    calls: new Map(),
    completeSince: later(-60),
    ...changes,
  });
  const known = { report: report(), askedAt: later(100), lagMs: 5_000 };
  const hold = { id: "hold_1", dispatchedAt, ownerEndedAt: later(10) };

  test("a final figure is the charge, whether or not its sender lives", () => {
    const calls = new Map([["hold_1", [call]]]);
    for (const ownerEndedAt of [null, later(10)])
      expect(
        judge({ ...hold, ownerEndedAt }, { ...known, report: report({ calls }) }),
      ).toMatchObject({ by: "report", costNanoUsd: 7 });
  });

  test("a request that is under way proves nothing, and one that came twice is charged twice", () => {
    const open = new Map([["hold_1", [call, { ...call, final: false }]]]);
    expect(judge(hold, { ...known, report: report({ calls: open }) })).toBeUndefined();
    const twice = new Map([["hold_1", [call, call]]]);
    expect(judge(hold, { ...known, report: report({ calls: twice }) })).toMatchObject({
      costNanoUsd: 14,
    });
  });

  test("absence proves something only after the sender's end, in a report that goes back far enough", () => {
    expect(judge(hold, known)).toMatchObject({ by: "absence", costNanoUsd: 0 });
    expect(judge({ ...hold, ownerEndedAt: null }, known)).toBeUndefined();
    expect(judge({ ...hold, ownerEndedAt: later(96) }, known)).toBeUndefined();
    for (const completeSince of [undefined, later(1)])
      expect(judge(hold, { ...known, report: report({ completeSince }) })).toBeUndefined();
  });
});
