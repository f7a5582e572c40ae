import { expect, test } from "vitest";
import { eventListSchema, eventSchema } from "@guildhall/sdk/contract/event.ts";
import { type Caller, expectProblem, startTestApi } from "../test/api.ts";
import { createQueuedRun } from "../test/tenant.ts";
import { createEventBell } from "./event-bell.ts";

const api = await startTestApi();
const { admin, send } = api;
const mine = await api.caller();

async function append(caller: Caller, taskId: string, text: string): Promise<void> {
  await admin.query("SELECT append_event($1, $2, 'model.text', $3)", [
    caller.workspaceId,
    taskId,
    JSON.stringify({ step: 1, text }),
  ]);
}
async function read(taskId: string, query = "") {
  const response = await send("GET", `/v1/tasks/${taskId}/events${query}`, { key: mine.key });
  expect(response.status).toBe(200);
  return eventListSchema.parse(await response.json());
}

test("events come dense and in order, page by page, and say when there are no more", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  for (let n = 0; n < 4; n++) await append(mine, taskId, `part ${n}`);
  const all = await read(taskId);
  expect(all.data.map((event) => event.seq)).toEqual([1, 2, 3, 4, 5]);
  for (const event of all.data) expect(eventSchema.parse(event)).toEqual(event);
  expect(all.data[0]).toMatchObject({ type: "task.created", stream_id: taskId });
  expect(all).toMatchObject({ last_seq: 5, closed: false });

  const page = await read(taskId, "?after=1&limit=2");
  expect(page.data.map((event) => event.seq)).toEqual([2, 3]);
  expect(page.last_seq).toBe(5);
  expect((await read(taskId, "?after=99")).data).toEqual([]);

  await send("POST", `/v1/tasks/${taskId}/cancel`, { key: mine.key });
  expect(await read(taskId, "?after=6")).toEqual({ data: [], last_seq: 6, closed: true });
});

test("a reader who waits gets the event when it comes, by the bell", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  const waiting = read(taskId, "?after=1&wait_ms=30000");
  await append(mine, taskId, "now");
  api.eventBell.ring(taskId);
  expect((await waiting).data).toMatchObject([{ seq: 2, data: { text: "now" } }]);
});

test("a reader who waits gets the event although nobody rings", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  const waiting = read(taskId, "?after=1&wait_ms=30000");
  await append(mine, taskId, "silent");
  expect((await waiting).data).toMatchObject([{ seq: 2 }]);
});

test("a reader who waits hears at once that the task was cancelled", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  const waiting = read(taskId, "?after=1&wait_ms=30000");
  const listening = api.eventBell.listen(taskId);
  await send("POST", `/v1/tasks/${taskId}/cancel`, { key: mine.key });
  await listening.wait(120_000, new AbortController().signal);
  listening.stop();
  expect(await waiting).toMatchObject({ data: [{ type: "task.cancelled" }], closed: true });
});

test("waiting for a stream that has ended does not wait", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  await send("POST", `/v1/tasks/${taskId}/cancel`, { key: mine.key });
  expect(await read(taskId, "?after=2&wait_ms=30000")).toMatchObject({ data: [], closed: true });
});

test("a wait that ends without an event answers an empty page", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  expect(await read(taskId, "?after=1&wait_ms=1")).toMatchObject({ data: [], last_seq: 1 });
});

test.each([
  "after=-1",
  "after=x",
  "after=1e300",
  "limit=0",
  "limit=1001",
  "wait_ms=30001",
  "since=1",
])("the query %s is refused", async (query) => {
  const { taskId } = await createQueuedRun(admin, mine);
  const response = await send("GET", `/v1/tasks/${taskId}/events?${query}`, { key: mine.key });
  await expectProblem(response, 400, "validation_failed");
});

test("a stream that is not a task's is not read as one", async () => {
  await admin.query("SELECT append_event($1, $1, 'limit.changed', '{}')", [mine.workspaceId]);
  const response = await send("GET", `/v1/tasks/${mine.workspaceId}/events`, { key: mine.key });
  await expectProblem(response, 404, "task_not_found");
});

test("a ring between the look and the wait is not lost", async () => {
  const bell = createEventBell();
  const listening = bell.listen("task_1");
  bell.ring("task_1");
  await listening.wait(60_000, new AbortController().signal);
  listening.stop();
});

test("a wait ends when its reader goes away", async () => {
  const bell = createEventBell();
  const gone = new AbortController();
  const waiting = bell.listen("task_1").wait(60_000, gone.signal);
  gone.abort();
  await waiting;
  await bell.listen("task_1").wait(60_000, gone.signal);
});
