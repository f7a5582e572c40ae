import { get, type IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { createClient } from "@guildhall/sdk/client/client.ts";
import { type Caller, expectProblem, startTestApi } from "../test/api.ts";
import { createQueuedRun } from "../test/tenant.ts";

const api = await startTestApi();
const { admin, send, base } = api;
const limited = { apiRequestsPerHour: 100 };

async function append(caller: Caller, taskId: string, text: string): Promise<void> {
  await admin.query("SELECT append_event($1, $2, 'model.text', $3)", [
    caller.workspaceId,
    taskId,
    JSON.stringify({ step: 1, text }),
  ]);
  api.eventBell.ring(taskId);
}

/** How many API requests the workspace may still make, by the field of an answer that is itself counted. */
async function remaining(caller: Caller): Promise<number> {
  const { headers } = await send("GET", "/v1/me", { key: caller.key });
  return Number(/"api_requests";r=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1]);
}

const open = (caller: Caller, taskId: string) =>
  send("GET", `/v1/tasks/${taskId}/events/stream`, { key: caller.key });

test("a task is followed from its beginning to its end for one API request", async () => {
  const caller = await api.caller(limited);
  const { taskId } = await createQueuedRun(admin, caller);
  const before = await remaining(caller);
  const seqs: number[] = [];
  for await (const event of createClient({ baseUrl: base, token: caller.key }).tasks.stream(
    taskId,
  )) {
    seqs.push(event.seq);
    if (event.seq <= 20) await append(caller, taskId, "ünd");
    else
      await api.db.withWorkspace(caller.workspaceId, (tx) =>
        tx.query({
          text: "SELECT end_task(current_workspace(), $1, 'cancelled', 'requested', NULL, '{}')",
          values: [taskId],
        }),
      );
  }
  expect(seqs).toEqual(Array.from({ length: 22 }, (_, n) => n + 1));
  expect(before - (await remaining(caller))).toBe(2);
});

test("a browser's EventSource goes on where it was, by Last-Event-ID", async () => {
  const caller = await api.caller();
  const { taskId } = await createQueuedRun(admin, caller);
  await append(caller, taskId, "one");
  await send("POST", `/v1/tasks/${taskId}/cancel`, { key: caller.key });
  const response = await send("GET", `/v1/tasks/${taskId}/events/stream`, {
    key: caller.key,
    headers: { "last-event-id": "2" },
  });
  expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const text = await response.text();
  expect(text.match(/^id: .*$/gm)).toEqual(["id: 3"]);
  expect(text.endsWith('event: end\ndata: {"last_seq":3}\n\n')).toBe(true);
});

test("a revoked key's stream ends, without the end of the task", async () => {
  const caller = await api.caller();
  const { taskId } = await createQueuedRun(admin, caller);
  const response = await open(caller, taskId);
  await admin.query("UPDATE api_keys SET revoked_at = now() WHERE workspace_id = $1", [
    caller.workspaceId,
  ]);
  expect(await response.text()).not.toContain("event: end");
  await expectProblem(await open(caller, taskId), 401, "unauthenticated");
}, 30_000);

test("another workspace's task is not found, and neither is one that does not exist", async () => {
  const caller = await api.caller();
  const { taskId } = await createQueuedRun(admin, await api.caller());
  await expectProblem(await open(caller, taskId), 404, "task_not_found");
  await expectProblem(await open(caller, "task_0"), 404, "task_not_found");
  await expectProblem(
    await send("GET", `/v1/tasks/${taskId}/events/stream?after=x`, { key: caller.key }),
    400,
    "validation_failed",
  );
});

/** Bare connections: fetch would make new ones for those that it aborts. */
function openBare(caller: Caller, taskId: string): Promise<IncomingMessage> {
  const asked = get(`${base}/v1/tasks/${taskId}/events/stream`, {
    agent: false,
    headers: { authorization: `Bearer ${caller.key}` },
  });
  return new Promise((resolve, reject) => asked.once("response", resolve).once("error", reject));
}

test("one key has 50 streams open and not one more; a closed one makes room", async () => {
  const caller = await api.caller();
  const { taskId } = await createQueuedRun(admin, caller);
  const opened = await Promise.all(Array.from({ length: 50 }, () => openBare(caller, taskId)));
  expect(new Set(opened.map(({ statusCode }) => statusCode))).toEqual(new Set([200]));
  await expectProblem(await open(caller, taskId), 429, "too_many_streams");
  opened.pop()?.destroy();
  await expect
    .poll(async () => {
      const another = await openBare(caller, taskId);
      opened.push(another);
      return another.statusCode;
    })
    .toBe(200);
  for (const stream of opened) stream.destroy();
});
