import { readFile } from "node:fs/promises";
import { eventListSchema } from "@guildhall/sdk/contract/event.ts";
import { taskDetailSchema, type TaskDetail } from "@guildhall/sdk/contract/task.ts";
import { scopes } from "@guildhall/sdk/contract/workspace.ts";
import { expect, it, vi } from "vitest";
import { startTestApi } from "../../test/api.ts";
import { killedAt, sentPathOf, startWorkerProcess } from "../../test/mortal-worker.ts";
import { runGuildhall } from "../../test/product.ts";
import {
  brokenLaws,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
} from "../../test/run-stage.ts";

// Each test starts several processes one after the other.
vi.setConfig({ testTimeout: 300_000 });

const api = await startTestApi();
const { admin } = api;

/** DeVonte's worker is killed right after the effect of a tool that may have it once only. */
async function killedAfterSending() {
  const stage = await openStage(api);
  const tenant = await openWorkspace(api);
  const key = await api.keyWith(tenant, scopes);
  const { taskId, runId } = await giveTask(api, {
    stage,
    tenant,
    agentId: "devonte",
    prompt: "Profile these CSV files and write report.md",
    inputs: { "sales.csv": salesCsv },
  });
  // DeVonte asks for a review with his last call but one.
  await killedAt(api, stage, "tool.executed:5");
  startJobs(stage);

  async function readTask(): Promise<TaskDetail> {
    return taskDetailSchema.parse(
      await (await api.send("GET", `/v1/tasks/${taskId}`, { key })).json(),
    );
  }
  return {
    stage,
    taskId,
    key,
    /** Waits until the task is in this state, as the API tells it. */
    reaches: (state: TaskDetail["state"]) =>
      vi.waitFor(
        async () => {
          const task = await readTask();
          expect(task).toMatchObject({ state });
          return task;
        },
        { timeout: 120_000, interval: 50 },
      ),
    async step() {
      const { rows } = await admin.query<{ state: string; body: { content?: string } }>(
        "SELECT state, body FROM steps WHERE run_id = $1 AND body->>'name' = 'send_message'",
        [runId],
      );
      return rows;
    },
    sent: async () => (await readFile(sentPathOf(stage), "utf8")).trim().split("\n"),
  };
}

function questionOf({ parked }: TaskDetail): { id: string; text: string } {
  if (parked?.kind !== "question") throw new Error(`the task waits for ${parked?.kind}`);
  return { id: parked.question_id, text: parked.question };
}

it("a call that must not run twice and may have had its effect asks a person, whose answer is its result: it never runs again", async () => {
  const { stage, taskId, key, reaches, step, sent } = await killedAfterSending();
  startWorkerProcess(api, stage);
  const question = questionOf(await reaches("waiting"));
  expect(question.text).toMatch(/^Did send_message take effect\?.*"to":"sable"/);
  expect(await step()).toMatchObject([{ state: "unknown" }]);

  const told = await api.send("GET", `/v1/tasks/${taskId}/events`, { key });
  const { data: events } = eventListSchema.parse(await told.json());
  const calls = events.flatMap((event) =>
    event.type === "tool.completed" && event.data.name === "send_message" ? [event.data] : [],
  );
  expect(calls).toMatchObject([{ outcome_unknown: true, is_error: true }]);

  const env = { GUILDHALL_URL: api.base, GUILDHALL_API_KEY: key };
  const shown = await runGuildhall(["task", "show", taskId], env);
  expect(shown.stdout).toContain(`guildhall task answer ${question.id}`);
  const answered = await runGuildhall(["task", "answer", question.id, "Sable has it."], env);
  expect(answered).toMatchObject({ code: 0, stdout: "answered\n" });

  await reaches("succeeded");
  expect(await step()).toMatchObject([
    { state: "unknown", body: { content: expect.stringContaining("Sable has it.") as string } },
  ]);
  expect(await sent()).toHaveLength(1);
  expect(await brokenLaws(api)).toEqual([]);
});

it("a worker that dies before it could ask leaves the question to the next one, which asks once", async () => {
  const { stage, taskId, key, reaches, sent } = await killedAfterSending();
  // The first step that this one stores is that the outcome is unknown.
  await killedAt(api, stage, "step.stored:1");
  startWorkerProcess(api, stage);
  const { id } = questionOf(await reaches("waiting"));
  const { rowCount } = await admin.query("SELECT 1 FROM questions WHERE task_id = $1", [taskId]);
  expect(rowCount).toBe(1);
  const json = { answer: "It was not sent. Leave it." };
  const answered = await api.send("POST", `/v1/questions/${id}/answer`, { key, json });
  expect(answered.status).toBe(200);
  await reaches("succeeded");
  expect(await sent()).toHaveLength(1);
  expect(await brokenLaws(api)).toEqual([]);
});
