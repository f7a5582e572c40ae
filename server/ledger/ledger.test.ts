import { expect, it } from "vitest";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import { claimRun, createClaimedRun, createTenant, limitTop } from "../test/tenant.ts";
import { balanceOf, request } from "./fixture.ts";
import { createLedger } from "./ledger.ts";
import { setLimit } from "./limits.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_test" });
await ledger.processSeen("gateway");

const balance = (workspaceId: string, level: string, scopeId: string, meter = "model_cost") =>
  balanceOf(admin, { workspaceId, level, scopeId, meter });

it("a hold counts at every level, and its settlement returns what was not used", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 1_000 });
  const parent = await createClaimedRun(admin, tenant);
  const child = await createClaimedRun(admin, tenant, { parentTaskId: parent.taskId });
  const ask = request(child);
  expect(await ledger.reserve(ask)).toEqual({
    status: "held",
    callNo: 1,
    amountNanoUsd: 200,
    maxTokens: 10,
  });
  const levels = [
    ["run", child.runId],
    ["task", child.taskId],
    ["task", parent.taskId],
    ["agent", tenant.agentId],
    ["workspace", tenant.workspaceId],
    ["owner", tenant.billingAccountId],
    ["platform", "platform"],
  ] as const;
  for (const [level, scope] of levels)
    expect(await balance(tenant.workspaceId, level, scope)).toMatchObject({ posted: 0, held: 200 });
  expect(await balance(tenant.workspaceId, "run", parent.runId)).toMatchObject({ held: 0 });
  expect(
    await ledger.settle({
      workspaceId: tenant.workspaceId,
      holdId: ask.holdId,
      outcome: "settled",
      actualNanoUsd: 130,
      usage: { input_tokens: 1 },
    }),
  ).toEqual({ status: "done", postedNanoUsd: 130, overrunNanoUsd: 0 });
  for (const [level, scope] of levels)
    expect(await balance(tenant.workspaceId, level, scope)).toMatchObject({ posted: 130, held: 0 });
});

it("output is clamped to what is left; below the least it is refused and nothing is held", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 155 });
  const run = await createClaimedRun(admin, tenant);
  const first = request(run);
  expect(await ledger.reserve(first)).toMatchObject({
    status: "held",
    amountNanoUsd: 150,
    maxTokens: 5,
  });
  expect(await ledger.reserve(request(run))).toEqual({
    status: "reserved",
    level: "workspace",
    scopeId: tenant.workspaceId,
    period: expect.stringMatching(/^\d{4}-\d\d$/),
    limit: 155,
    posted: 0,
    held: 150,
    needed: 110,
  });
  await ledger.settle({
    workspaceId: tenant.workspaceId,
    holdId: first.holdId,
    outcome: "settled",
    actualNanoUsd: 100,
  });
  expect(await ledger.reserve(request(run))).toMatchObject({
    status: "exhausted",
    posted: 100,
    held: 0,
  });
  expect(await ledger.reserve(request(run, { inputNanoUsd: 45 }))).toMatchObject({
    status: "held",
    amountNanoUsd: 55,
    maxTokens: 1,
  });
});

it("a level that no returning hold can help is named before one that only has to wait", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 250 });
  const rich = await createClaimedRun(admin, tenant);
  const poor = await createClaimedRun(admin, tenant, { costLimitNanoUsd: 100 });
  expect(await ledger.reserve(request(rich))).toMatchObject({ status: "held" });
  expect(await ledger.reserve(request(poor))).toMatchObject({
    status: "exhausted",
    level: "task",
    scopeId: poor.taskId,
    needed: 110,
  });
});

it("only the attempt that holds the lease can spend, with its own token", async () => {
  const tenant = await createTenant(admin);
  const first = await createClaimedRun(admin, tenant);
  const second = await claimRun(admin, first);
  expect(await ledger.reserve(request(first))).toEqual({ status: "stale" });
  expect(await ledger.reserve(request({ ...second, tokenHash: first.tokenHash }))).toEqual({
    status: "stale",
  });
  expect(await ledger.reserve(request({ ...second, epoch: first.epoch }))).toEqual({
    status: "stale",
  });
  expect(await ledger.reserve(request(second))).toMatchObject({ status: "held" });
  await admin.query(
    `UPDATE runs SET lease_until = clock_now() - interval '1 millisecond' WHERE id = $1`,
    [second.runId],
  );
  expect(await ledger.reserve(request(second))).toEqual({ status: "stale" });
  expect(await ledger.leaseAgentTime({ ...second, bookingNo: 1, sliceMs: 1_000 })).toEqual({
    status: "stale",
  });
  expect(
    await ledger.reserve(
      request({ ...second, workspaceId: (await createTenant(admin)).workspaceId }),
    ),
  ).toEqual({ status: "stale" });
});

it("calls of a run are numbered and limited; a further attempt of a call is not a further call", async () => {
  const tenant = await createTenant(admin);
  const run = await createClaimedRun(admin, tenant, { modelCallLimit: 2 });
  expect(await ledger.reserve(request(run))).toMatchObject({ callNo: 1 });
  expect(await ledger.reserve(request(run))).toMatchObject({ callNo: 2 });
  expect(await ledger.reserve(request(run))).toEqual({ status: "call_limit", limit: 2 });
  expect(await ledger.reserve(request(run, { callNo: 2, attemptNo: 2 }))).toMatchObject({
    status: "held",
    callNo: 2,
  });
});

it("a second settlement of the same hold changes nothing, a provisional charge can only be lowered", async () => {
  const tenant = await createTenant(admin);
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const ask = request(run, { dispatch: false });
  const { holdId } = ask;
  await ledger.reserve(ask);
  const settled = { workspaceId, holdId, outcome: "settled", actualNanoUsd: 150 } as const;
  expect(await ledger.settle(settled)).toEqual({ status: "unchanged", state: "HELD" });
  expect(await ledger.markDispatched(workspaceId, holdId)).toBe(true);
  expect(await ledger.markDispatched(workspaceId, holdId)).toBe(false);
  expect(await ledger.settle({ workspaceId, holdId, outcome: "void" })).toEqual({
    status: "unchanged",
    state: "DISPATCHED",
  });
  expect(await ledger.settle({ workspaceId, holdId, outcome: "provisional" })).toEqual({
    status: "done",
    postedNanoUsd: 200,
    overrunNanoUsd: 0,
  });
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({
    posted: 200,
    held: 0,
  });
  expect(await ledger.settle({ workspaceId, holdId, outcome: "provisional" })).toEqual({
    status: "unchanged",
    state: "PROVISIONAL",
  });
  expect(await ledger.settle(settled)).toMatchObject({ status: "done", postedNanoUsd: 150 });
  expect(await ledger.settle({ ...settled, actualNanoUsd: 190 })).toEqual({
    status: "unchanged",
    state: "SETTLED",
  });
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({
    posted: 150,
    held: 0,
  });
  expect(await ledger.settle({ ...settled, holdId: newId("hold") })).toEqual({
    status: "unchanged",
    state: null,
  });
});

it("what the provider charges beyond the hold is the platform's, not the tenant's", async () => {
  const tenant = await createTenant(admin);
  const { workspaceId } = tenant;
  const ask = request(await createClaimedRun(admin, tenant));
  await ledger.reserve(ask);
  expect(
    await ledger.settle({
      workspaceId,
      holdId: ask.holdId,
      outcome: "settled",
      actualNanoUsd: 1_200,
    }),
  ).toEqual({ status: "done", postedNanoUsd: 200, overrunNanoUsd: 1_000 });
  expect(await balance(workspaceId, "overrun", "platform")).toMatchObject({ posted: 1_000 });
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({ posted: 200 });
});

it("a limit lowered below what is spent and held refuses new calls and honours open ones", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 1_000 });
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const ask = request(run);
  await ledger.reserve(ask);
  const change = (amount: number | null) =>
    db.withWorkspace(workspaceId, (tx) =>
      setLimit(tx, {
        meter: "model_cost",
        level: "workspace",
        scopeId: workspaceId,
        amount,
        actor: "test",
      }),
    );
  expect(await change(50)).toBe(2);
  expect(await ledger.reserve(request(run))).toMatchObject({
    status: "exhausted",
    limit: 50,
    held: 200,
  });
  expect(
    await ledger.settle({
      workspaceId,
      holdId: ask.holdId,
      outcome: "settled",
      actualNanoUsd: 120,
    }),
  ).toMatchObject({ status: "done", postedNanoUsd: 120 });
  expect(await change(null)).toBe(3);
  expect(await ledger.reserve(request(run))).toMatchObject({ status: "held" });
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({
    version: 3,
    limit: null,
  });
});

it("workspaces of one payer share its limit, and a chunk that one does not use refuses the other nothing", async () => {
  const one = await createTenant(admin);
  const owner = one.billingAccountId;
  const two = await createTenant(admin, { billingAccountId: owner });
  await limitTop(admin, { level: "owner", scopeId: owner, meter: "model_cost", amount: 1_000 });
  const runOne = await createClaimedRun(admin, one);
  const runTwo = await createClaimedRun(admin, two);
  const large = request(runOne, { maxTokens: 80 });
  expect(await ledger.reserve(large)).toMatchObject({ status: "held", amountNanoUsd: 900 });
  expect(await ledger.reserve(request(runTwo))).toMatchObject({
    status: "reserved",
    level: "owner",
  });
  await ledger.settle({
    workspaceId: one.workspaceId,
    holdId: large.holdId,
    outcome: "settled",
    actualNanoUsd: 100,
  });
  const rest = request(runTwo, { maxTokens: 500 });
  expect(await ledger.reserve(rest)).toMatchObject({ status: "held", amountNanoUsd: 900 });
  await ledger.settle({
    workspaceId: two.workspaceId,
    holdId: rest.holdId,
    outcome: "provisional",
  });
  expect(await ledger.reserve(request(runOne))).toMatchObject({
    status: "exhausted",
    level: "owner",
  });
  await limitTop(admin, { level: "owner", scopeId: owner, meter: "model_cost", amount: 1_200 });
  expect(await ledger.reserve(request(runOne))).toMatchObject({
    status: "held",
    amountNanoUsd: 200,
  });
});

it("each answer in the journal is given out once per later attempt, also to equal calls at once", async () => {
  const tenant = await createTenant(admin);
  const { workspaceId } = tenant;
  const first = await createClaimedRun(admin, tenant);
  for (const text of ["one", "two"]) {
    const ask = request(first);
    await ledger.reserve(ask);
    await ledger.settle({
      workspaceId,
      holdId: ask.holdId,
      outcome: "settled",
      actualNanoUsd: 1,
      journal: { requestHash: "same", body: Buffer.from(text) },
    });
  }
  const take = (run: typeof first) => ledger.takeJournal({ ...run, requestHash: "same" });
  expect(await take(first)).toBeUndefined();
  const second = await claimRun(admin, first);
  expect(await take(first)).toBeUndefined();
  const taken = await Promise.all([take(second), take(second), take(second)]);
  expect(new Set(taken.map((one) => one?.body.toString()))).toEqual(
    new Set(["one", "two", undefined]),
  );
  const third = await claimRun(admin, second);
  expect((await take(third))?.body.toString()).toBe("one");
});

it("an answer that did not reach the attempt it was given to is given to it once more, and to no other", async () => {
  const tenant = await createTenant(admin);
  const { workspaceId } = tenant;
  const first = await createClaimedRun(admin, tenant);
  const ask = request(first);
  await ledger.reserve(ask);
  await ledger.settle({
    workspaceId,
    holdId: ask.holdId,
    outcome: "settled",
    actualNanoUsd: 1,
    journal: { requestHash: "same", body: Buffer.from("one") },
  });
  const take = (run: typeof first) => ledger.takeJournal({ ...run, requestHash: "same" });
  const missed = { ...first, requestHash: "same", holdId: ask.holdId };
  await ledger.markUndelivered({ ...missed, holdId: "hold_other" });
  await ledger.markUndelivered({ ...missed, requestHash: "other" });
  expect(await take(first)).toBeUndefined();
  await ledger.markUndelivered(missed);
  await ledger.markUndelivered(missed);
  expect(await take({ ...first, tokenHash: "another" })).toBeUndefined();
  expect((await take(first))?.body.toString()).toBe("one");
  expect(await take(first)).toBeUndefined();
  const second = await claimRun(admin, first);
  expect((await take(second))?.body.toString()).toBe("one");
  // What an earlier attempt missed is not given to a later one that has it.
  await ledger.markUndelivered(missed);
  expect(await take(second)).toBeUndefined();
});

it("agent time is booked ahead, shortened near a limit, and what was not used returns once", async () => {
  const tenant = await createTenant(admin, { agentTimeLimitMs: 40_500 });
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  let bookingNo = 0;
  const lease = () => ledger.leaseAgentTime({ ...run, bookingNo: ++bookingNo, sliceMs: 15_000 });
  const giveBack = (unusedMs: number) => ledger.returnAgentTime({ ...run, unusedMs });
  expect(await lease()).toEqual({ status: "granted", ms: 15_000 });
  expect(await lease()).toEqual({ status: "granted", ms: 15_000 });
  expect(await lease()).toEqual({ status: "granted", ms: 10_500 });
  expect(await lease()).toEqual({
    status: "exhausted",
    level: "workspace",
    scopeId: workspaceId,
    period: expect.stringMatching(/^\d{4}-\d\d$/),
    limit: 40_500,
    posted: 40_500,
    held: 0,
    needed: 1_000,
  });
  expect(await giveBack(40_501)).toBe(false);
  expect(await giveBack(0)).toBe(false);
  // More than the last slice: it goes on with the one before.
  expect(await giveBack(12_000)).toBe(true);
  expect(await balance(workspaceId, "workspace", workspaceId, "agent_time")).toMatchObject({
    posted: 28_500,
  });
  expect(await giveBack(28_501)).toBe(false);
  await claimRun(admin, run);
  expect(await giveBack(1)).toBe(false);
});

it("a booking of agent time that is asked for again answers what was booked, also at the limit, and books nothing", async () => {
  const tenant = await createTenant(admin, { agentTimeLimitMs: 25_000 });
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const lease = (of: typeof run, bookingNo: number) =>
    ledger.leaseAgentTime({ ...of, bookingNo, sliceMs: 15_000 });
  const posted = async () =>
    (await balance(workspaceId, "workspace", workspaceId, "agent_time")).posted;
  const both = await Promise.all([lease(run, 1), lease(run, 1)]);
  expect(both).toEqual([
    { status: "granted", ms: 15_000 },
    { status: "granted", ms: 15_000 },
  ]);
  expect(await posted()).toBe(15_000);
  for (let n = 0; n < 2; n++)
    expect(await lease(run, 2)).toEqual({ status: "granted", ms: 10_000 });
  expect(await lease(run, 1)).toEqual({ status: "granted", ms: 15_000 });
  expect(await posted()).toBe(25_000);
  expect(await lease(run, 3)).toMatchObject({ status: "exhausted" });
  await expect(lease(run, 4)).rejects.toMatchObject({ code: "GH002" });
  expect(await ledger.returnAgentTime({ ...run, unusedMs: 25_000 })).toBe(true);
  // A later attempt counts from one again.
  const later = await claimRun(admin, run);
  expect(await lease(run, 1)).toEqual({ status: "stale" });
  expect(await lease(later, 1)).toEqual({ status: "granted", ms: 15_000 });
  expect(await posted()).toBe(15_000);
});

it("holds that never left are voided, those of a dead process are posted in full, others are left alone", async () => {
  const tenant = await createTenant(admin);
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const dead = createLedger({ db, processId: "wrk_dead" });
  await dead.processSeen("gateway");
  const waiting = request(run, { dispatch: false });
  const orphan = request(run);
  const alive = request(run);
  await ledger.reserve(waiting);
  await dead.reserve(orphan);
  await ledger.reserve(alive);
  const states = async () => {
    const found = await admin.query<{ id: string; state: string }>(
      `SELECT id, state FROM holds WHERE workspace_id = $1`,
      [workspaceId],
    );
    const stateOf = new Map(found.rows.map((row) => [row.id, row.state]));
    return [waiting, orphan, alive].map((one) => stateOf.get(one.holdId));
  };
  const rule = { deadAfterMs: 30_000, heldForMs: 60_000, atMost: 100 };
  await ledger.reapHolds(rule);
  expect(await states()).toEqual(["HELD", "DISPATCHED", "DISPATCHED"]);
  await admin.query(
    `UPDATE processes SET seen_at = seen_at - interval '1 minute' WHERE id = 'wrk_dead'`,
  );
  await admin.query(`UPDATE holds SET held_at = held_at - interval '2 minutes' WHERE id = $1`, [
    waiting.holdId,
  ]);
  expect(await ledger.reapHolds(rule)).toEqual({ voided: 1, provisional: 1 });
  expect(await states()).toEqual(["VOID", "PROVISIONAL", "DISPATCHED"]);
  expect(await ledger.markDispatched(workspaceId, waiting.holdId)).toBe(false);
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({
    posted: 200,
    held: 200,
  });
});

it("impossible amounts are refused before they reach a balance", async () => {
  const run = await createClaimedRun(admin, await createTenant(admin));
  for (const changes of [
    { inputNanoUsd: -1 },
    { inputNanoUsd: 0, outputNanoUsdPerToken: 0 },
    { maxTokens: 0 },
    { minTokens: 0 },
    { minTokens: -5 },
    { outputNanoUsdPerToken: 9_000_000_000_000, maxTokens: 2_000 },
    { inputNanoUsd: Number.NaN },
  ])
    await expect(ledger.reserve(request(run, changes))).rejects.toThrow(/impossible|worst case/);
  expect(await balance(run.workspaceId, "run", run.runId)).toMatchObject({ held: 0 });
});
