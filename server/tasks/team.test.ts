import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { createLedger } from "../ledger/ledger.ts";
import { systemClock } from "../platform/clock.ts";
import { createFileStore } from "../platform/file-store.ts";
import { newId } from "../platform/ids.ts";
import { Secret } from "../platform/secret.ts";
import { createTestDatabase } from "../test/database.ts";
import {
  claimRun,
  createAgent,
  createClaimedRun,
  createTenant,
  type ClaimedRun,
  type TaskOptions,
  type Tenant,
} from "../test/tenant.ts";
import { resultOf } from "../tools/fixture.ts";
import { openRunFolder } from "../tools/run-folder.ts";
import { teamTools } from "../tools/team/team-tools.ts";
import { createToolRegistry, type ToolOutcome } from "../tools/tools.ts";
import { createRunLease } from "./run-lease.ts";
import { setUpRunFolder } from "./run-folder-setup.ts";
import { loadRunTask } from "./run-task.ts";
import { createTeam } from "./team.ts";

const { db, admin } = await createTestDatabase();
const dataDir = await mkdtemp(join(tmpdir(), "guildhall-team-"));
afterAll(() => rm(dataDir, { recursive: true, force: true }));
const files = createFileStore({ root: join(dataDir, "files") });
const registry = createToolRegistry(teamTools, {
  onUnexpected: ({ error }) => {
    throw error;
  },
});

/** A workspace with the agents of these ids; the first one is the tenant's own. */
async function openOffice(...agentIds: [string, ...string[]]): Promise<Tenant> {
  const [first, ...others] = agentIds;
  const tenant = await createTenant(admin, { agentId: first });
  for (const agentId of others)
    await createAgent(admin, { workspaceId: tenant.workspaceId, agentId });
  return tenant;
}

/** An attempt that executes a run for its agent, with the tools as the runtime would call them. */
async function sitDown(run: ClaimedRun, agentId: string) {
  const { workspaceId, runId, taskId, epoch } = run;
  const sentAtMs = systemClock.monotonicMs();
  const lease = createRunLease({ clock: systemClock, leaseMs: 600_000, sentAtMs });
  onTestFinished(() => lease.close());
  const claim = { workspaceId, runId, taskId, epoch, token: new Secret(run.token) };
  const root = join(dataDir, "runs", runId);
  const limits = { maxFileBytes: 1_000_000, maxTotalBytes: 2_000_000, maxFiles: 100 };
  const folder = await openRunFolder({ root, limits });
  const team = createTeam({ db, files, folder, claim, lease, agentId });
  function call(name: string, input: unknown, step = 1): Promise<ToolOutcome> {
    const ctx = { folder, signal: lease.signal, idempotencyKey: `${runId}/${step}`, team };
    return registry.execute({ name, input, ctx });
  }
  async function result(name: string, input: unknown, step = 1) {
    return resultOf(await call(name, input, step));
  }
  async function read<T>(name: string, input: unknown, step = 1): Promise<T> {
    const { isError, content } = await result(name, input, step);
    if (isError) throw new Error(content);
    const parsed: T = JSON.parse(content);
    return parsed;
  }
  return { ...run, claim, lease, folder, root, agentId, call, result, read };
}
type Seat = Awaited<ReturnType<typeof sitDown>>;

async function startTask(tenant: Tenant, agentId: string, options: TaskOptions = {}) {
  return sitDown(await createClaimedRun(admin, tenant, { agentId, ...options }), agentId);
}

/** Goes on with the task that a call delegated, as a worker that claimed it. */
async function startChild({ workspaceId }: Seat, childTaskId: string): Promise<Seat> {
  const { rows } = await admin.query<{ run_id: string; agent_id: string }>(
    "SELECT r.id AS run_id, t.agent_id FROM runs r JOIN tasks t ON t.id = r.task_id WHERE t.id = $1",
    [childTaskId],
  );
  const { run_id: runId, agent_id: agentId } = rows[0]!;
  return sitDown(await claimRun(admin, { workspaceId, taskId: childTaskId, runId }), agentId);
}

async function delegated(seat: Seat, input: object, step = 1): Promise<string> {
  const outcome = await seat.call("delegate_task", input, step);
  if (!("reason" in outcome) || outcome.reason.kind !== "child")
    throw new Error(`not delegated: ${JSON.stringify(outcome)}`);
  return outcome.reason.child_task_id;
}

async function endTask(seat: Seat, state: "succeeded" | "failed", result: string | null = null) {
  const cause = state === "failed" ? "call_limit" : null;
  await db.withWorkspace(seat.workspaceId, (tx) =>
    tx.query({
      text: "SELECT end_task($1, $2, $3, $4, $5, '{}')",
      values: [seat.workspaceId, seat.taskId, state, cause, result],
    }),
  );
}

async function writeArtifact(seat: Seat, path: string, content: string): Promise<void> {
  const stream = Readable.from([Buffer.from(content)]);
  const { workspaceId, taskId, runId } = seat;
  const stored = await files.put({ workspaceId, stream, maxBytes: 10_000_000 });
  await admin.query(
    "INSERT INTO artifacts (workspace_id, id, task_id, run_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    [workspaceId, newId("art"), taskId, runId, path, stored.sizeBytes, stored.sha256],
  );
}

async function eventData(seat: Seat, type: string): Promise<unknown[]> {
  const { rows } = await admin.query<{ data: unknown }>(
    "SELECT data FROM events WHERE stream_id = $1 AND type = $2 ORDER BY seq",
    [seat.taskId, type],
  );
  return rows.map((row) => row.data);
}

async function count(text: string, ...values: unknown[]): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM ${text}`,
    values,
  );
  return rows[0]!.n;
}

const note = (to: string) => ({ to, subject: "Dates", body: "They are in UTC." });

describe("messages", () => {
  test("a message lies in the other agent's inbox until a task of that agent reads it, once", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const sent = await gray.read<{ message_id: string; to: string }>("send_message", note("Sable"));
    expect(sent).toEqual({ message_id: expect.stringMatching(/^msg_/), to: "sable" });
    expect(await eventData(gray, "message.sent")).toEqual([
      {
        message_id: sent.message_id,
        from_agent_id: "gray",
        to_agent_id: "sable",
        subject: "Dates",
      },
    ]);
    const sable = await startTask(office, "sable");
    expect(await sable.read("check_inbox", {})).toEqual({
      messages: [{ id: sent.message_id, from: "gray", subject: "Dates", body: "They are in UTC." }],
    });
    expect(await sable.read("check_inbox", {}, 2)).toEqual({ messages: [] });
    const other = await startTask(office, "sable");
    expect(await other.read("check_inbox", {})).toEqual({ messages: [] });
  });

  test("twenty executions of one call at once send one message and tell it once", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => gray.read("send_message", note("sable"))),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(await count("messages WHERE task_id = $1", gray.taskId)).toBe(1);
    expect(await eventData(gray, "message.sent")).toHaveLength(1);
  });

  test("reading again under the same key answers the same messages, not those that came since", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    await gray.read("send_message", note("sable"), 1);
    await gray.read("send_message", note("sable"), 2);
    const sable = await startTask(office, "sable");
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => sable.read("check_inbox", {})),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]).toMatchObject({ messages: [{ from: "gray" }, { from: "gray" }] });
    await gray.read("send_message", { ...note("sable"), subject: "Later" }, 3);
    const again = await sable.read<{ messages: unknown[]; unread: number }>("check_inbox", {});
    expect(again).toEqual({ ...(answers[0] as object), unread: 1 });
    expect(await sable.read("check_inbox", {}, 2)).toMatchObject({
      messages: [{ subject: "Later" }],
    });
  });

  test("two tasks of one agent that read at the same moment share the mail out", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    for (let step = 1; step <= 10; step++) await gray.read("send_message", note("sable"), step);
    const readers: Seat[] = [];
    for (let n = 0; n < 4; n++) readers.push(await startTask(office, "sable"));
    const inboxes = await Promise.all(
      readers.map((reader) => reader.read<{ messages: { id: string }[] }>("check_inbox", {})),
    );
    const ids = inboxes.flatMap((inbox) => inbox.messages.map((message) => message.id));
    expect(ids).toHaveLength(10);
    expect(new Set(ids).size).toBe(10);
  });

  test("mail that is too much for one result stays valid JSON and says what is left", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const body = `\u0001${'"'.repeat(9_998)}x`;
    for (let step = 1; step <= 5; step++)
      await gray.read("send_message", { to: "sable", subject: "Long", body }, step);
    const sable = await startTask(office, "sable");
    const bodies: string[] = [];
    for (let step = 1; step <= 5; step++) {
      const inbox = await sable.read<{ messages: { body: string }[]; unread?: number }>(
        "check_inbox",
        {},
        step,
      );
      bodies.push(...inbox.messages.map((message) => message.body));
      expect(inbox.unread ?? 0).toBe(5 - bodies.length);
    }
    expect(bodies).toEqual(Array.from({ length: 5 }, () => body));
  });

  test("nobody outside of the workspace is reached, and nobody writes to himself", async () => {
    const office = await openOffice("gray", "sable");
    await openOffice("stranger");
    const gray = await startTask(office, "gray");
    const stranger = await gray.result("send_message", note("stranger"));
    expect(stranger).toMatchObject({ isError: true });
    expect(stranger.content).toBe('There is no agent "stranger". The agents are: sable.');
    const self = await gray.result("send_message", note("gray"), 2);
    expect(self).toMatchObject({ isError: true });
    expect(self.content).toContain("a message to yourself");
    expect(await count("messages WHERE workspace_id = $1", office.workspaceId)).toBe(0);
  });

  test("two agents exchange at most 20 messages in a task and what was delegated from it", async () => {
    const office = await openOffice("gray", "sable", "yuki");
    const gray = await startTask(office, "gray");
    for (let step = 1; step <= 19; step++) await gray.read("send_message", note("sable"), step);
    const child = await startChild(
      gray,
      await delegated(gray, { agent: "sable", prompt: "Look" }, 20),
    );
    await child.read("send_message", note("gray"), 1);
    const refused = await child.result("send_message", note("gray"), 2);
    expect(refused).toMatchObject({ isError: true });
    expect(refused.content).toContain("have exchanged 20 messages in this task");
    await child.read("send_message", note("yuki"), 3);
    await (await startTask(office, "gray")).read("send_message", note("sable"));
  });

  test("a chain of messages ends after six hops, round a ring of agents too", async () => {
    const ring = ["gray", "sable", "yuki"] as const;
    const office = await openOffice(...ring);
    for (let hop = 0; hop <= 7; hop++) {
      const seat = await startTask(office, ring[hop % 3]!);
      if (hop > 0) await seat.read("check_inbox", {}, 1);
      const sent = await seat.result("send_message", note(ring[(hop + 1) % 3]!), 2);
      expect(sent.isError, `hop ${hop}: ${sent.content}`).toBe(hop > 6);
      if (hop > 6) expect(sent.content).toContain("A chain of messages ends there");
    }
    const { rows } = await admin.query<{ hops: number; threads: number }>(
      "SELECT max(hops) AS hops, count(DISTINCT thread_id)::int AS threads FROM messages WHERE workspace_id = $1",
      [office.workspaceId],
    );
    expect(rows).toEqual([{ hops: 6, threads: 1 }]);
  });
});

describe("delegation", () => {
  test("one call makes one task with the same input, however often and however parallel it is executed", async () => {
    const office = await openOffice("marcus", "gray");
    const uploadId = newId("upl");
    await admin.query(
      "INSERT INTO uploads (workspace_id, id, created_by) VALUES ($1, $2, 'test')",
      [office.workspaceId, uploadId],
    );
    const marcus = await startTask(office, "marcus");
    await admin.query("UPDATE tasks SET upload_id = $1, priority = 7 WHERE id = $2", [
      uploadId,
      marcus.taskId,
    ]);
    const input = { agent: "gray", prompt: "Examine input/a.csv" };
    const ids = await Promise.all(Array.from({ length: 20 }, () => delegated(marcus, input)));
    expect(new Set(ids).size).toBe(1);
    const { rows } = await admin.query(
      `SELECT id, agent_id, prompt, upload_id, parent_task_id, root_task_id, depth, priority, state, created_by,
         cost_limit_nano_usd::int AS cost, model_call_limit AS calls FROM tasks WHERE parent_task_id = $1`,
      [marcus.taskId],
    );
    expect(rows).toEqual([
      {
        id: ids[0],
        agent_id: "gray",
        prompt: input.prompt,
        upload_id: uploadId,
        parent_task_id: marcus.taskId,
        root_task_id: marcus.taskId,
        depth: 1,
        priority: 7,
        state: "queued",
        created_by: "agent:marcus",
        cost: 500_000_000,
        calls: 200,
      },
    ]);
    expect(await eventData(marcus, "task.delegated")).toEqual([
      { child_task_id: ids[0], agent_id: "gray", prompt: input.prompt },
    ]);
    expect(await count("runs WHERE task_id = $1", ids[0])).toBe(1);
    expect(await count("events WHERE stream_id = $1", ids[0])).toBe(1);
    expect(await count("outbox WHERE payload->>'task_id' = $1", ids[0])).toBe(1);
    expect(
      await count(
        "audit_lines WHERE target = $1 AND actor = 'agent:marcus' AND origin = $2",
        ids[0],
        marcus.taskId,
      ),
    ).toBe(1);
  });

  test("the sub-grant is what was asked for, but never more than the task and those above it have left", async () => {
    const office = await openOffice("marcus", "sable", "gray");
    const marcus = await startTask(office, "marcus", { costLimitNanoUsd: 100_000_000 });
    const limitOf = async (taskId: string): Promise<number> => {
      const { rows } = await admin.query<{ cost: number }>(
        "SELECT cost_limit_nano_usd::int AS cost FROM tasks WHERE id = $1",
        [taskId],
      );
      return rows[0]!.cost;
    };
    const less = { agent: "sable", prompt: "Look", cost_limit_usd: "0.080000001" };
    const sable = await startChild(marcus, await delegated(marcus, less, 1));
    expect(await limitOf(sable.taskId)).toBe(80_000_001);
    const more = { agent: "sable", prompt: "Look", cost_limit_usd: "$5" };
    expect(await limitOf(await delegated(marcus, more, 2))).toBe(100_000_000);
    await admin.query(
      `INSERT INTO budgets (workspace_id, meter, level, scope_id, period, limit_amount, posted, held)
       VALUES ($1, 'model_cost', 'task', $2, 'all', 100000000, 60000000, 10000000)`,
      [office.workspaceId, marcus.taskId],
    );
    expect(await limitOf(await delegated(sable, { agent: "gray", prompt: "Look" }))).toBe(
      30_000_000,
    );
    await admin.query("UPDATE budgets SET posted = 90000000 WHERE scope_id = $1", [marcus.taskId]);
    const refused = await sable.result("delegate_task", { agent: "gray", prompt: "Look" }, 2);
    expect(refused).toMatchObject({ isError: true });
    expect(refused.content).toContain("Nothing is left of this task's budget");
    const zero = await marcus.result("delegate_task", { ...less, cost_limit_usd: "0.00" }, 9);
    expect(zero.content).toContain("must be more than 0");
  });

  test("work goes to others, at most three levels down and eight tasks wide", async () => {
    const office = await openOffice("marcus", "sable");
    const root = await startTask(office, "marcus");
    const self = await root.result("delegate_task", { agent: "marcus", prompt: "Look" }, 1);
    expect(self.content).toContain("a task for yourself");
    const nobody = await root.result("delegate_task", { agent: "nobody", prompt: "Look" }, 1);
    expect(nobody).toMatchObject({ isError: true });
    expect(nobody.content).toContain("The agents are: marcus, sable");

    let seat = root;
    for (const agent of ["sable", "marcus", "sable"])
      seat = await startChild(seat, await delegated(seat, { agent, prompt: "Look" }));
    const deeper = await seat.result("delegate_task", { agent: "marcus", prompt: "Look" });
    expect(deeper).toMatchObject({ isError: true });
    expect(deeper.content).toContain("may be handed on no further");

    for (let step = 2; step <= 8; step++)
      await delegated(root, { agent: "sable", prompt: "Look" }, step);
    const wider = await root.result("delegate_task", { agent: "sable", prompt: "Look" }, 9);
    expect(wider).toMatchObject({ isError: true });
    expect(wider.content).toContain("has delegated 8 tasks");
    await delegated(root, { agent: "sable", prompt: "Look" }, 8);
    expect(await count("tasks WHERE parent_task_id = $1", root.taskId)).toBe(8);
  });

  test("the result brings the colleague's files into the own folder, once each, and again on another machine", async () => {
    const office = await openOffice("marcus", "gray");
    const marcus = await startTask(office, "marcus");
    const input = { agent: "gray", prompt: "Examine input/a.csv" };
    const first = await startChild(marcus, await delegated(marcus, input));
    await writeArtifact(first, "findings.md", "4 rows");
    await writeArtifact(first, "data/rows.csv", "id\n1\n");
    await endTask(first, "succeeded", "There are 4 rows.");
    const answer = {
      task_id: first.taskId,
      state: "succeeded",
      result: "There are 4 rows.",
      artifacts: ["from-gray/data/rows.csv", "from-gray/findings.md"],
    };
    expect(await marcus.read("delegate_task", input)).toEqual(answer);
    await marcus.folder.writeText("from-gray/findings.md", "4 rows, says Gray");
    expect(await marcus.read("delegate_task", input)).toEqual(answer);
    expect(await marcus.folder.readText("from-gray/findings.md")).toBe("4 rows, says Gray");

    const second = await startChild(marcus, await delegated(marcus, input, 2));
    await writeArtifact(second, "findings.md", "5 rows");
    await endTask(second, "failed");
    expect(await marcus.read("delegate_task", input, 2)).toEqual({
      task_id: second.taskId,
      state: "failed",
      cause: "call_limit",
      result: null,
      artifacts: ["from-gray-2/findings.md"],
    });

    const elsewhere = join(dataDir, "elsewhere");
    const task = await loadRunTask(db, marcus.claim);
    await setUpRunFolder({ dataDir: elsewhere, files }, { ...marcus.claim, task });
    const root = join(elsewhere, "runs", office.workspaceId, marcus.runId);
    expect(await readFile(join(root, "from-gray/findings.md"), "utf8")).toBe("4 rows");
    expect(await readFile(join(root, "from-gray-2/findings.md"), "utf8")).toBe("5 rows");
  });

  test("a file that finds no room is left out, and the result is told all the same", async () => {
    const office = await openOffice("marcus", "gray");
    const marcus = await startTask(office, "marcus");
    const input = { agent: "gray", prompt: "Examine input/a.csv" };
    const gray = await startChild(marcus, await delegated(marcus, input));
    await writeArtifact(gray, "big.csv", "x".repeat(1_500_000));
    await writeArtifact(gray, "small.md", "small");
    await endTask(gray, "succeeded", '"'.repeat(60_000));
    const { content } = await marcus.result("delegate_task", input);
    const told = JSON.parse(content) as { result: string; artifacts: string[] };
    expect(told).toMatchObject({ artifacts: ["from-gray/small.md"], artifacts_without_room: 1 });
    expect(told.result).toMatch(/^"+\n\[cut here/);
  });
});

test("what the child spends counts at its parent, and the parent's cap holds whatever the child's own limit is", async () => {
  const office = await openOffice("marcus", "gray");
  const marcus = await startTask(office, "marcus", { costLimitNanoUsd: 100_000_000 });
  const gray = await startChild(marcus, await delegated(marcus, { agent: "gray", prompt: "Look" }));
  await db.withWorkspace(office.workspaceId, (tx) =>
    tx.query({
      text: "SELECT set_limit('model_cost', 'task', $1, 900000000, 'test')",
      values: [gray.taskId],
    }),
  );
  const ledger = createLedger({ db, processId: newId("wrk") });
  const call = (seat: Seat, inputNanoUsd: number) => ({
    ...seat.claim,
    tokenHash: seat.tokenHash,
    holdId: newId("hold"),
    attemptNo: 1,
    model: "claude-sonnet-4-5",
    priceVersion: "test",
    inputNanoUsd,
    outputNanoUsdPerToken: 1,
    maxTokens: 1,
    minTokens: 1,
    dispatch: true,
  });
  const { workspaceId } = office;
  const paid = call(gray, 60_000_000);
  expect(await ledger.reserve(paid)).toMatchObject({ status: "held" });
  await ledger.settle({
    workspaceId,
    holdId: paid.holdId,
    outcome: "settled",
    actualNanoUsd: 60_000_001,
  });
  const { rows } = await admin.query<{ scope_id: string; posted: number }>(
    "SELECT scope_id, posted::int AS posted FROM budgets WHERE level = 'task' AND scope_id = ANY($1)",
    [[marcus.taskId, gray.taskId]],
  );
  expect(new Map(rows.map((row) => [row.scope_id, row.posted]))).toEqual(
    new Map([
      [marcus.taskId, 60_000_001],
      [gray.taskId, 60_000_001],
    ]),
  );
  expect(await ledger.reserve(call(gray, 40_000_000))).toMatchObject({
    status: "exhausted",
    level: "task",
    scopeId: marcus.taskId,
  });
  await endTask(gray, "succeeded");
  expect(await ledger.reserve(call(marcus, 40_000_000))).toMatchObject({ status: "exhausted" });
  expect(await ledger.reserve(call(marcus, 39_000_000))).toMatchObject({ status: "held" });
});

describe("questions", () => {
  test("a question is asked once, however often and however parallel the call is executed", async () => {
    const office = await openOffice("marcus");
    const marcus = await startTask(office, "marcus");
    const ask = () => marcus.call("ask_human", { question: "Which year?" });
    const outcomes = await Promise.all(Array.from({ length: 20 }, ask));
    expect(new Set(outcomes.map((outcome) => JSON.stringify(outcome))).size).toBe(1);
    expect(outcomes[0]).toEqual({
      status: "park",
      reason: {
        kind: "question",
        question_id: expect.stringMatching(/^qst_/),
        question: "Which year?",
      },
    });
    expect(await count("questions WHERE task_id = $1", marcus.taskId)).toBe(1);
    await admin.query(
      "UPDATE questions SET answer = '2020', answered_at = now() WHERE task_id = $1",
      [marcus.taskId],
    );
    expect(await marcus.read("ask_human", { question: "Which year?" })).toEqual({ answer: "2020" });
  });
});

describe("an attempt that lost its lease", () => {
  test.each([
    ["send_message", note("sable")],
    ["check_inbox", {}],
    ["delegate_task", { agent: "sable", prompt: "Look" }],
    ["ask_human", { question: "Which year?" }],
  ])("%s has no effect and stops the run", async (name, input) => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const sable = await startTask(office, "sable");
    await sable.read("send_message", note("gray"));
    await claimRun(admin, gray);
    await expect(gray.call(name, input)).rejects.toMatchObject({ name: "RunStopped" });
    expect(gray.lease.stopped()).toEqual({ kind: "lost" });
    expect(await count("messages WHERE task_id = $1", gray.taskId)).toBe(0);
    expect(
      await count(
        "messages WHERE to_agent_id = 'gray' AND read_at IS NOT NULL AND workspace_id = $1",
        office.workspaceId,
      ),
    ).toBe(0);
    expect(await count("tasks WHERE parent_task_id = $1", gray.taskId)).toBe(0);
    expect(await count("questions WHERE task_id = $1", gray.taskId)).toBe(0);
  });
});

test("where a run has no team the tools say so", async () => {
  const office = await openOffice("gray");
  const { folder, lease } = await startTask(office, "gray");
  const ctx = { folder, signal: lease.signal, idempotencyKey: "run_1/1" };
  const outcome = await registry.execute({ name: "check_inbox", input: {}, ctx });
  expect(outcome).toMatchObject({
    isError: true,
    content: expect.stringContaining("nobody to reach"),
  });
});
