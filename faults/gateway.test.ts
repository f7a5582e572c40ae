import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import type { RoleProcess } from "../server/test/role-processes.ts";
import { postedNanoUsd } from "./figures.ts";
import { askModel, expectUnavailable } from "./requests.ts";
import { countOf, openStage, until } from "./stage.ts";
import { unlessDefault } from "./times.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const stage = await openStage(
  unlessDefault({
    GATEWAY_LEASE_MS: "3000",
    MODEL_IDLE_TIMEOUT_MS: "1500",
    CHECK_EVERY_MS: "1000",
  }),
);
afterAll(() => stage.close());

const give = () => stage.client.tasks.create({ agent: "gray", prompt: "Look around" });

/** A gateway, and a worker that reaches the model through it. */
async function startPair(env: Readonly<Record<string, string>> = {}) {
  const gateway = await stage.start(["gateway"], env);
  const worker = await stage.startWorker({ GATEWAY_URL: gateway.gatewayUrl });
  onTestFinished(async () => {
    await gateway.kill();
    await worker.kill();
  });
  return { gateway, worker };
}

/** The worker's next calls go to the gateway that stays. */
function leadElsewhere(worker: RoleProcess): void {
  const { hostname, port } = new URL(stage.gateway.gatewayUrl);
  worker.links.gateway?.aimAt({ host: hostname, port: Number(port) });
}

const provider = () => stage.simulator.meter.report().totals.cost_nano_usd;

const posted = () => postedNanoUsd(stage.db);

/** The task ends well, nothing is charged below the provider's figure, and in the end exactly that. */
async function endsInTruth(taskId: string): Promise<void> {
  await stage.succeeds(taskId);
  expect(await posted()).toBeGreaterThanOrEqual(provider());
  await stage.lawsHold();
  await until(async () => (await posted()) === provider());
  const events = await stage.eventsOf(taskId);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
}

test.each([
  ["F03", "after the answer, before its charge", "gateway.answered"],
  ["F03", "after the charge, before the last byte", "gateway.settled"],
  ["F04", "after the hold, before the first byte", "gateway.held"],
  ["F05", "after the mark, before the first byte of a later call", "gateway.held:2"],
])(
  "%s a gateway is killed %s: the run goes on through another, and the ledger comes to the provider's figure",
  async (_case, _when, point) => {
    const { gateway, worker } = await startPair({ FAULT_AT: point });
    const task = await give();
    await until(() => gateway.process.signalCode === "SIGKILL");
    leadElsewhere(worker);
    await endsInTruth(task.id);
  },
);

test("F20 a gateway is cut off from the database while calls stream: they run on to their end and are charged when it is back", async () => {
  const { gateway } = await startPair();
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 1_000, times: 1 }]);
  const task = await give();
  await stage.callIsOpen();
  gateway.links.database.drop();
  await until(() =>
    stage.simulator.meter.report().calls.every((call) => call.finished_at !== null),
  );
  // Nobody is let in of whom the ledger cannot be asked.
  const before = stage.simulator.meter.report().totals.calls;
  expectUnavailable(await askModel(gateway.gatewayUrl, await stage.createKey()));
  expect(stage.simulator.meter.report().totals.calls).toBe(before);
  gateway.links.database.heal();
  await endsInTruth(task.id);
});

test("F22 the provider refuses before the first byte: the gateway tries again, each time with a hold of its own, and nobody else does", async () => {
  await startPair();
  const before = stage.simulator.meter.report().totals.calls;
  await stage.setFaults(
    ([429, 500, 503, 529] as const).map((status, index) => ({
      kind: "status",
      status,
      match: { nth: 2 * index + 1 },
      times: 1,
    })),
  );
  const task = await give();
  await endsInTruth(task.id);
  const completed = countOf(await stage.eventsOf(task.id), "model.completed");
  expect(stage.simulator.meter.report().totals.calls - before).toBeLessThanOrEqual(completed + 4);
});

test("F23 the provider falls silent in the middle: the call is given up and charged as held until the figure is known", async () => {
  await startPair();
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 3_600_000, times: 1 }]);
  const task = await give();
  await endsInTruth(task.id);
});

test.each([0, 300, 1_500])(
  "F24 the connection to the provider breaks %i bytes into the answer",
  async (bytes) => {
    const { gateway } = await startPair();
    gateway.links.provider.cutAfter(bytes);
    const task = await give();
    await until(async () => {
      const calls = await stage.eventsOf(task.id);
      return countOf(calls, "model.failed") > 0 || countOf(calls, "model.completed") > 0;
    });
    gateway.links.provider.heal();
    await endsInTruth(task.id);
  },
);

test("F24 the provider ends an answer in good order but too early", async () => {
  await startPair();
  await stage.setFaults([
    { kind: "half_close", times: 1 },
    { kind: "half_close", after_bytes: 300, match: { nth: 3 }, times: 1 },
  ]);
  const task = await give();
  await endsInTruth(task.id);
});
