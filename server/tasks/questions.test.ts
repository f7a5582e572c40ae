import { expect, test } from "vitest";
import { taskSchema } from "@guildhall/sdk/contract/task.ts";
import { newId } from "../platform/ids.ts";
import { type Caller, expectProblem, startTestApi, withoutRequestId } from "../test/api.ts";
import { createClaimedRun } from "../test/tenant.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const mine = await api.caller();

/** A claimed run that asked a question; `park` says whether it waits for it already. */
async function ask(caller: Caller, options: { park: boolean }) {
  const run = await createClaimedRun(admin, caller);
  const questionId = newId("qst");
  await admin.query(
    "INSERT INTO questions (workspace_id, id, task_id, question, idempotency_key) VALUES ($1, $2, $3, 'Which one?', $2)",
    [caller.workspaceId, questionId, run.taskId],
  );
  if (options.park) await park(run, questionId);
  return { ...run, questionId };
}

async function park(
  run: { workspaceId: string; runId: string; epoch: number },
  questionId: string,
) {
  const reason = { kind: "question", question_id: questionId, question: "Which one?" };
  await db.withWorkspace(run.workspaceId, (tx) =>
    tx.query({
      text: "SELECT park_run($1, $2, 'waiting', $3, NULL, 'task.waiting')",
      values: [run.runId, run.epoch, JSON.stringify(reason)],
    }),
  );
}

const answer = (id: string, caller: Caller = mine, text: unknown = "The second.") =>
  send("POST", `/v1/questions/${id}/answer`, { key: caller.key, json: { answer: text } });

async function runState(run: { runId: string }): Promise<string> {
  const { rows } = await admin.query<{ state: string }>("SELECT state FROM runs WHERE id = $1", [
    run.runId,
  ]);
  return rows[0]!.state;
}

test("an answer is stored, told as an event, and wakes the task that waits for it", async () => {
  const run = await ask(mine, { park: true });
  expect(await runState(run)).toBe("parked");
  const before = api.rung.length;
  const response = await answer(run.questionId, mine, "  The second.  ");
  expect(response.status).toBe(200);
  expect(taskSchema.parse(await response.json()).id).toBe(run.taskId);
  expect(await runState(run)).toBe("queued");
  expect(api.rung.slice(before)).toEqual(["ready"]);
  const { rows } = await admin.query(
    "SELECT data FROM events WHERE stream_id = $1 AND type = 'question.answered'",
    [run.taskId],
  );
  expect(rows).toEqual([
    {
      data: {
        question_id: run.questionId,
        answer: "The second.",
        answered_by: expect.stringMatching(/^key:key_/),
      },
    },
  ]);
});

test("the first answer counts", async () => {
  const run = await ask(mine, { park: true });
  const answers = await Promise.all([answer(run.questionId), answer(run.questionId)]);
  expect(answers.map((response) => response.status).toSorted((a, b) => a - b)).toEqual([200, 409]);
  const refused = answers.find((response) => response.status === 409)!;
  await expectProblem(refused, 409, "question_already_answered");
});

test("an answer that comes before the run parks does not leave it waiting for ever", async () => {
  const run = await ask(mine, { park: false });
  expect((await answer(run.questionId)).status).toBe(200);
  await park(run, run.questionId);
  expect(await runState(run)).toBe("queued");
});

test("an answer and the parking at the same moment never miss each other", async () => {
  for (let n = 0; n < 10; n++) {
    const run = await ask(mine, { park: false });
    await Promise.all([answer(run.questionId), park(run, run.questionId)]);
    expect(await runState(run)).toBe("queued");
  }
});

test("the question of a task that has ended cannot be answered", async () => {
  const run = await ask(mine, { park: true });
  await send("POST", `/v1/tasks/${run.taskId}/cancel`, { key: mine.key });
  await expectProblem(await answer(run.questionId), 409, "task_already_ended");
});

test.each([
  ["nothing", null],
  ["only blanks", "  "],
  ["a number", 4],
  ["20,001 characters", "a".repeat(20_001)],
])("%s is no answer", async (_title, text) => {
  const run = await ask(mine, { park: true });
  const problem = await expectProblem(
    await answer(run.questionId, mine, text),
    400,
    "validation_failed",
  );
  expect(problem.errors?.map((error) => error.field)).toEqual(["answer"]);
});

test("a foreign question, an unknown one and nonsense get the same answer", async () => {
  const foreign = await ask(await api.caller(), { park: true });
  const ids = [foreign.questionId, "qst_00000000000000000000000000", "nonsense"];
  const answers = await Promise.all(ids.map((id) => answer(id)));
  expect(answers.map((response) => response.status)).toEqual([404, 404, 404]);
  expect(new Set(await Promise.all(answers.map(withoutRequestId))).size).toBe(1);
  expect(await runState(foreign)).toBe("parked");
});
