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
  const before = stage.simulator.meter.report().totals;
  const { worker, task } = await openCall({ stallMs: 2_000 });
  await worker.kill();
  await workerForTest();
  await endsOnce(task.id);
  const { calls, cost_nano_usd: cost } = stage.simulator.meter.report().totals;
  const events = await stage.eventsOf(task.id);
  expect(calls - before.calls).toBe(countOf(events, "model.completed"));
  expect((await stage.client.tasks.get(task.id)).usage.spent_nano_usd).toBe(
    cost - before.cost_nano_usd,
  );
});

test("F02 a worker is killed after a tool took effect, before that is known: the tool's key makes the repetition none", async () => {
  const upload = await stage.client.uploads.create([
    { path: "notes.md", data: new Blob(["# Notes\n\nShip it.\n"]) },
  ]);
  const doomed = await workerForTest({ FAULT_AT: "tool.executed:5" });
  const task = await stage.client.tasks.create({
    agent: "devonte",
    prompt: "Build something from these notes",
    upload_id: upload.id,
  });
  await until(() => doomed.process.signalCode === "SIGKILL");
  const messages = async (): Promise<unknown[]> =>
    stage.db.withPlatform((tx) =>
      tx.query({ text: "SELECT id FROM messages WHERE task_id = $1", values: [task.id] }),
    );
  // It died inside the call that asks for a review.
  const sent = await messages();
  expect(sent).toHaveLength(1);
  await workerForTest();
  await endsOnce(task.id);
  expect(await messages()).toEqual(sent);
});

test("F17 one wake comes many times to many workers: each run is claimed once", async () => {
  await Promise.all([1, 2, 3].map(() => workerForTest()));
  const tasks = await Promise.all(Array.from({ length: 6 }, give));
  const wake = { v: 1, kind: "run_ready", task_ids: tasks.map(({ id }) => id) };
  for (let n = 0; n < 5; n++)
    await stage.db.ledger({
      text: "SELECT pg_notify('guildhall_wake', $1)",
      values: [JSON.stringify(wake)],
    });
  for (const { id } of tasks) {
    await stage.succeeds(id);
    const events = await stage.eventsOf(id);
    // A machine that is busy enough loses leases, and then they are claimed again.
    expect(countOf(events, "run.claimed")).toBe(1 + countOf(events, "run.lease_lost"));
  }
  await stage.lawsHold();
});

/** A worker is put out of action in the middle of a run, and comes back when another one has ended it. */
async function losesItsRun(
  putOut: (worker: RoleProcess) => void,
  bringBack: (worker: RoleProcess) => void,
): Promise<void> {
  const { worker, task } = await openCall({ stallMs: 1_500 });
  putOut(worker);
  const second = await workerForTest();
  await stage.succeeds(task.id);
  const before = await stage.eventsOf(task.id);
  await second.stop();
  bringBack(worker);
  // It lives and works, but no more on that.
  const next = await give();
  await stage.succeeds(next.id);
  expect(await stage.eventsOf(task.id)).toEqual(before);
  await endsOnce(task.id);
}

test("F18 a worker stands still past its lease: another ends the task, and the first wakes up to nothing that it may do", async () => {
  await losesItsRun(
    (worker) => worker.freeze(),
    (worker) => worker.thaw(),
  );
});

test("F19 a worker is cut off from the database but not from the gateway: it stops by itself, and another goes on", async () => {
  await losesItsRun(
    ({ links }) => links.database.drop(),
    ({ links }) => links.database.heal(),
  );
});

test("F19 a worker is cut off from the gateway: the run waits for it, or goes on elsewhere, and is paid once", async () => {
  const { worker, task } = await openCall({ stallMs: 1_500 });
  worker.links.gateway?.refuse();
  await until(async () => (await stage.openHolds()) === 0);
  worker.links.gateway?.heal();
  await endsOnce(task.id);
});

test("F33 a task kills whoever executes it: after its third worker it is dead with the cause, and can be done again", async () => {
  const doomed = { FAULT_AT: "tool.started" };
  const task = await give();
  for (let attempt = 0; attempt < 3; attempt++) {
    const worker = await workerForTest(doomed);
    await until(() => worker.process.signalCode === "SIGKILL");
  }
  await until(async () => (await stage.client.tasks.get(task.id)).ended_at !== null);
  expect(await stage.client.tasks.get(task.id)).toMatchObject({
    state: "failed",
    cause: "attempts_exhausted",
  });
  await stage.lawsHold();
  await workerForTest();
  const again = await stage.client.tasks.replay(task.id);
  await endsOnce(again.id);
});
