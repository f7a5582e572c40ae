import { once } from "node:events";
import { afterAll, describe, expect, test } from "vitest";
import { createLedger } from "../../ledger/ledger.ts";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun } from "../../test/tenant.ts";
import {
  expectLaws,
  holdsOf,
  post,
  SMALL,
  startGateway,
  startProvider,
  startRun,
} from "./gateway-fixture.ts";
import { startGatewayProcess } from "./kill-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));
const reaper = createLedger({ db: database.db, processId: "wrk_reaper" });

/** Makes a call on a gateway that is killed at this point. */
async function callAndKill(faultAt: string) {
  const provider = await startProvider();
  const { url, child } = await startGatewayProcess(database, {
    upstreamUrl: provider.url,
    faultAt,
  });
  const run = await startRun(database);
  const body = { ...SMALL, stream: true };
  const killed = once(child, "exit");
  const text = await post(url, { token: run.token, body })
    .then((response) => response.text())
    .catch(() => "broken off");
  expect((await killed)[1]).toBe("SIGKILL");
  expect(text).not.toContain("message_stop");
  return { run, body, provider };
}

const reap = () => reaper.reapHolds({ deadAfterMs: 0, heldForMs: 0, atMost: 100 });

describe("a gateway that is killed", () => {
  test("after the hold, before the first byte: charged as held though the provider saw nothing, never void", async () => {
    const { run, provider } = await callAndKill("gateway.held");
    expect(provider.simulator.meter.report().totals.calls).toBe(0);
    expect(await holdsOf(database, run)).toMatchObject([{ state: "DISPATCHED" }]);
    await reap();
    const [hold] = await holdsOf(database, run);
    expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
  });

  test("after the answer, before its charge: charged as held, at least what the provider charges", async () => {
    const { run, provider } = await callAndKill("gateway.answered");
    expect(await holdsOf(database, run)).toMatchObject([{ state: "DISPATCHED" }]);
    await reap();
    const [hold] = await holdsOf(database, run);
    expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
    expect(hold!.posted).toBeGreaterThanOrEqual(
      provider.simulator.meter.report().totals.cost_nano_usd,
    );
  });

  test("after the charge, before the last byte: paid once, and the next attempt gets the answer for it", async () => {
    const { run, body, provider } = await callAndKill("gateway.settled");
    const { cost_nano_usd: cost } = provider.simulator.meter.report().totals;
    expect(await holdsOf(database, run)).toMatchObject([{ state: "SETTLED", posted: cost }]);
    const { url } = await startGateway(database, { upstreamUrl: provider.url });
    const next = await claimRun(database.admin, run);
    const response = await post(url, { token: next.token, body });
    expect(response.headers.get("guildhall-replayed")).toBe("true");
    expect(await response.text()).toContain("message_stop");
    expect(provider.simulator.meter.report().totals.calls).toBe(1);
  });
});
