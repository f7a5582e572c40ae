import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import type { RoleProcess } from "../server/test/role-processes.ts";
import { countOf, openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const stage = await openStage();
afterAll(() => stage.close());

async function workerForTest(env: Readonly<Record<string, string>> = {}): Promise<RoleProcess> {
  const worker = await stage.startWorker(env);
  onTestFinished(() => worker.kill());
  return worker;
}

const give = () => stage.client.tasks.create({ agent: "gray", prompt: "Look around" });

/** A worker in the middle of a model call that takes so long. */
async function openCall({ stallMs }: { stallMs: number }) {
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: stallMs, times: 1 }]);
  const worker = await workerForTest();
  const task = await give();
  await until(() => stage.has(task.id, "run.claimed"));
  await stage.callIsOpen();
  return { worker, task };
}

/** The events of a task that ended well in its second attempt, each model call of which was paid once. */
async function endsOnce(taskId: string): Promise<void> {
  await stage.succeeds(taskId);
  const events = await stage.eventsOf(taskId);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  expect(countOf(events, "task.succeeded")).toBe(1);
  const steps = events.flatMap((event) =>
    event.type === "model.completed" ? [event.data.step] : [],
  );
  expect(new Set(steps).size).toBe(steps.length);
  await stage.lawsHold();
}

test("F01 a worker is killed while the model streams: another goes on, and what was asked is paid once", async () => {
  const { worker, task } = await openCall({ stallMs: 2_000 });
  await worker.kill();
  await workerForTest();
  await endsOnce(task.id);
  const { calls, cost_nano_usd: cost } = stage.simulator.meter.report().totals;
  const events = await stage.eventsOf(task.id);
  expect(calls).toBe(countOf(events, "model.completed"));
  expect((await stage.client.tasks.get(task.id)).usage.spent_nano_usd).toBe(cost);
});

test("F18 a worker stands still past its lease: another ends the task, and what the first wakes up with is refused", async () => {
  const { worker, task } = await openCall({ stallMs: 500 });
  worker.freeze();
  await workerForTest();
  await stage.succeeds(task.id);
  const before = await stage.eventsOf(task.id);
  worker.thaw();
  // It lives and works, but not on that.
  await stage.setFaults([]);
  const next = await give();
  await stage.succeeds(next.id);
  await until(() => worker.output().includes("lease") || worker.process.exitCode === null);
  expect(await stage.eventsOf(task.id)).toEqual(before);
  await endsOnce(task.id);
});
