import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createLedger } from "../../ledger/ledger.ts";
import { newId } from "../../platform/ids.ts";
import { createTestDatabase } from "../../test/database.ts";
import { runFolderPath, setUpRunFolder } from "../execution/run-folder-setup.ts";
import { loadRunTask } from "../execution/run-task.ts";
import { openTeam, type Seat } from "./team-fixture.ts";

const { db, admin } = await createTestDatabase();
const {
  dataDir,
  files,
  openOffice,
  startTask,
  startChild,
  delegated,
  endTask,
  writeArtifact,
  eventData,
  count,
} = await openTeam({ db, admin });

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
      `INSERT INTO budgets (workspace_id, meter, level, scope_id, period, rank, limit_amount, posted, held)
       VALUES ($1, 'model_cost', 'task', $2, 'all', level_rank('task', 0), 100000000, 60000000, 10000000)`,
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
    const root = runFolderPath(elsewhere, marcus.claim);
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
    spender: { kind: "run" as const, ...seat.claim, tokenHash: seat.tokenHash },
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
