import { createClient } from "@guildhall/sdk/client/client.ts";
import { accessTokenSchema } from "@guildhall/sdk/contract/workspace.ts";
import { afterAll, expect, test, vi } from "vitest";
import { countOf, openStage } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const stage = await openStage();
afterAll(() => stage.close());

const HOUR_MS = 3_600_000;
const preload = new URL("shifted-clock.ts", import.meta.url).href;
const shifted = (ms: number) => ({
  NODE_OPTIONS: `--import=${preload}`,
  CLOCK_SHIFT_MS: String(ms),
});

test("F21 clocks are off by an hour, each in another way: nobody is signed out, no lease is lost, nothing is charged twice", async () => {
  const gateway = await stage.start(["gateway"], shifted(-HOUR_MS));
  const to = { GATEWAY_URL: gateway.gatewayUrl };
  const [early, late] = await Promise.all([
    stage.start(["api"], { ...to, ...shifted(-HOUR_MS) }),
    stage.start(["api"], { ...to, ...shifted(HOUR_MS) }),
    stage.start(["scheduler"], shifted(HOUR_MS)),
    stage.startWorker({ ...to, ...shifted(HOUR_MS) }),
  ]);

  for (const [here, there] of [
    [early, late],
    [late, early],
  ] as const) {
    const { token } = await stage.identity.createSignInLink(stage.userId);
    const answer = await fetch(`${here.url}/v1/auth/exchange`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    const { access_token: access } = accessTokenSchema.parse(await answer.json());
    const headers = { authorization: `Bearer ${access}` };
    for (const { url } of [here, there, stage.api])
      expect((await fetch(`${url}/v1/me`, { headers })).status).toBe(200);
    (await stage.openPage(there.url)).close();
  }

  const before = stage.simulator.meter.report().totals.cost_nano_usd;
  const client = createClient({ baseUrl: late.url, token: await stage.createKey() });
  // Longer than a heartbeat, so that its lease is extended meanwhile.
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 1_500, times: 1 }]);
  const task = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  const { usage, created_at: createdAt } = await stage.succeeds(task.id);
  expect(usage.spent_nano_usd).toBe(stage.simulator.meter.report().totals.cost_nano_usd - before);
  expect(countOf(await stage.eventsOf(task.id), "run.claimed")).toBe(1);
  // What people read is the database's time.
  expect(Math.abs(Date.parse(createdAt) - Date.now())).toBeLessThan(HOUR_MS / 2);

  const soon = new Date(Date.now() + HOUR_MS / 2).toISOString();
  await client.limits.set({
    meter: "model_cost",
    level: "workspace",
    amount: 1_000_000_000,
    until: soon,
  });
  await stage.lawsHold();
});
