import fc from "fast-check";
import { expect, it } from "vitest";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import {
  claimRun,
  type ClaimedRun,
  createAgent,
  createClaimedRun,
  createTenant,
} from "../test/tenant.ts";
import {
  command,
  decide,
  type Operation,
  operationOf,
  REAP,
  START_MS,
  stateOf,
  type World,
  WORLD_TIME_LIMIT_MS,
  worldShape,
} from "./command-fixture.ts";
import { createLedger } from "./ledger.ts";
import { budgetKey, type State, topKey } from "./kernel-state.ts";
import { setLimit } from "./limits.ts";

// The pure kernel is the oracle: every command gets the same answer from the database, and leaves the same balances.

const { db, admin } = await createTestDatabase();
await admin.query(`CREATE TABLE test_clock (now timestamptz NOT NULL);
  INSERT INTO test_clock VALUES (now());
  GRANT SELECT ON test_clock TO PUBLIC;
  CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT now FROM public.test_clock'`);

/** Longer than all the time that a sequence can let pass. */
const LEASE_MS = 20 * 365 * 86_400_000;
const processIds = ["gw_0", "gw_1"] as const;
const ledgers = new Map(
  processIds.map((processId) => [processId as string, createLedger({ db, processId })]),
);

async function setClock(nowMs: number): Promise<void> {
  await admin.query("UPDATE test_clock SET now = $1", [new Date(nowMs)]);
}

/** A world of rows of its own, in a ledger that has seen nothing yet. */
async function createWorld(): Promise<{ world: World; claims: Map<string, ClaimedRun> }> {
  await admin.query(
    "TRUNCATE ledger_lines, journal, holds, time_slices, budgets, limits, top_limits, top_budgets, processes",
  );
  await setClock(START_MS);
  const first = await createTenant(admin, { agentId: "agent_0" });
  const second = await createTenant(admin, {
    agentId: "agent_0",
    billingAccountId: first.billingAccountId,
  });
  await createAgent(admin, { workspaceId: first.workspaceId, agentId: "agent_1" });
  const claims = new Map<string, ClaimedRun>();
  const runs: World["runs"][number][] = [];
  for (const shape of worldShape) {
    const tenant = shape.workspace === 0 ? first : second;
    const parent = shape.parent === null ? undefined : runs[shape.parent];
    const agentId = `agent_${shape.agent}`;
    const claim = await createClaimedRun(admin, tenant, {
      agentId,
      costLimitNanoUsd: shape.costLimitNanoUsd,
      agentTimeLimitMs: WORLD_TIME_LIMIT_MS,
      modelCallLimit: shape.modelCallLimit,
      leaseMs: LEASE_MS,
      ...(parent ? { parentTaskId: parent.taskId } : {}),
    });
    claims.set(claim.runId, claim);
    const { workspaceId, runId, taskId } = claim;
    runs.push({
      ...shape,
      workspaceId,
      runId,
      taskId,
      agentId,
      agentTimeLimitMs: WORLD_TIME_LIMIT_MS,
    });
  }
  return { world: { ownerId: first.billingAccountId, runs, processIds }, claims };
}

async function changeRun(
  operation: Extract<Operation, { type: "run" }>,
  claims: Map<string, ClaimedRun>,
): Promise<void> {
  const { runId, run } = operation;
  const claim = claims.get(runId)!;
  if (run.state === "claimed")
    claims.set(runId, await claimRun(admin, { ...claim, leaseMs: LEASE_MS }));
  else if (run.state === "parked")
    await admin.query(
      `UPDATE runs SET state = 'parked', slot_no = NULL, lease_until = NULL WHERE id = $1`,
      [runId],
    );
  else
    await admin.query(
      `UPDATE runs SET state = 'claimed', lease_until = '-infinity', slot_no = coalesce(slot_no, 1000 + floor(random() * 1e6)::int) WHERE id = $1`,
      [runId],
    );
}

/** Asks the database the same as the kernel. */
async function perform(operation: Operation, claims: Map<string, ClaimedRun>): Promise<unknown> {
  const any = ledgers.get(processIds[0])!;
  switch (operation.type) {
    case "reserve": {
      const { ownerId, workspaceId, runId, epoch, ...ask } = operation.ask;
      const { tokenHash } = claims.get(runId)!;
      const spender = { kind: "run", workspaceId, runId, epoch, tokenHash } as const;
      return ledgers.get(ownerId)!.reserve({ ...ask, spender, model: "m", priceVersion: "p" });
    }
    case "dispatch": {
      const { workspaceId, holdId, ownerId } = operation.ask;
      return ledgers.get(ownerId)!.markDispatched(workspaceId, holdId);
    }
    case "settle":
      return any.settle(operation.ask);
    case "reap":
      return any.reapHolds(REAP);
    case "seen":
      return ledgers.get(operation.processId)!.processSeen("gateway");
    case "lease_time":
      return any.leaseAgentTime(operation.ask);
    case "return_time":
      return any.returnAgentTime(operation.ask);
    case "limit":
      return db.withWorkspace(operation.ask.workspaceId, (tx) =>
        setLimit(tx, { ...operation.ask, actor: "test" }),
      );
    case "top_limit": {
      const { level, scopeId, meter, amount } = operation.ask;
      const [row] = await db.withPlatform((tx) =>
        tx.query<{ version: number }>({
          text: "SELECT set_top_limit($1, $2, $3, $4, 'test') AS version",
          values: [level, scopeId, meter, amount],
        }),
      );
      return row!.version;
    }
    case "run":
      return changeRun(operation, claims);
    case "tick":
      return setClock(operation.nowMs);
  }
}

const byKey = (a: unknown[], b: unknown[]): number => String(a[0]).localeCompare(String(b[0]));

/** What both sides must agree on, in one form. */
function pictureOf(state: State): unknown {
  return {
    budgets: [...state.budgets]
      .map(([key, row]) => [key, row.limitVersion, row.limit, row.posted, row.held])
      .toSorted(byKey),
    tops: [...state.tops].map(([key, top]) => [key, top.limit, top.granted]).toSorted(byKey),
    holds: [...state.holds.values()]
      .map((hold) => [
        hold.id,
        hold.callNo,
        hold.attemptNo,
        hold.state,
        hold.amount,
        hold.maxTokens,
        hold.posted,
        hold.overrun,
        hold.levels,
      ])
      .toSorted(byKey),
    slices: [...state.slices.values()]
      .map((slice) => [
        `${slice.runId}|${slice.sliceNo}`,
        slice.epoch,
        slice.grantedMs,
        slice.returnedMs,
        slice.levels,
      ])
      .toSorted(byKey),
    lines: state.lines
      .map((line) => [
        [
          budgetKey(line.workspaceId, line.meter, line),
          line.kind,
          line.holdId ?? "",
          line.amount,
        ].join("|"),
      ])
      .toSorted(byKey),
  };
}

type Seen = {
  level: string;
  scope_id: string;
  period: string;
  limit_version: number;
  limit: number | null;
  posted: number;
  held: number;
};
/** What a hold or slice saw, leaf first. */
const SEEN = `(SELECT jsonb_agg(jsonb_build_object('level', b.level, 'scope_id', b.scope_id, 'period', b.period,
    'limit_version', s.version, 'limit', s.amount, 'posted', s.posted, 'held', s.held) ORDER BY s.n)
  FROM unnest(x.budget_ids, x.seen_versions, x.seen_limits, x.seen_posted, x.seen_held) WITH ORDINALITY s(id, version, amount, posted, held, n)
    JOIN budgets b ON b.workspace_id = x.workspace_id AND b.id = s.id) AS levels`;
const levelsFrom = (levels: Seen[]) =>
  levels.map(({ scope_id: scopeId, limit_version: limitVersion, ...rest }) => ({
    ...rest,
    scopeId,
    limitVersion,
  }));

async function pictureOfDatabase(): Promise<unknown> {
  const read = async <Row extends object>(text: string): Promise<Row[]> =>
    db.withPlatform((tx) => tx.query<Row>({ text, values: [] }));
  const account = `concat_ws('|', b.workspace_id, b.meter, b.level, b.scope_id, b.period)`;
  const budgets = await read<{
    key: string;
    limit_version: number;
    limit_amount: number | null;
    posted: number;
    held: number;
  }>(`SELECT ${account} AS key, limit_version, limit_amount, posted, held FROM budgets b`);
  const tops = await read<{
    level: "owner" | "platform";
    scope_id: string;
    meter: "model_cost" | "agent_time";
    period: string;
    limit_amount: number;
    granted: number;
  }>("SELECT * FROM top_budgets");
  const holds = await read<{
    id: string;
    call_no: number;
    attempt_no: number;
    state: string;
    amount: number;
    max_tokens: number;
    posted: number | null;
    overrun: number;
    levels: Seen[];
  }>(`SELECT x.*, ${SEEN} FROM holds x`);
  const slices = await read<{
    run_id: string;
    slice_no: number;
    epoch: number;
    granted_ms: number;
    returned_ms: number;
    levels: Seen[];
  }>(`SELECT x.*, ${SEEN} FROM time_slices x`);
  const lines = await read<{ line: string }>(
    `SELECT concat_ws('|', ${account}, l.kind, coalesce(l.hold_id, ''), l.amount) AS line FROM ledger_lines l
      CROSS JOIN LATERAL unnest(l.budget_ids) k(id) JOIN budgets b ON b.workspace_id = l.workspace_id AND b.id = k.id`,
  );
  return {
    budgets: budgets
      .map((row) => [row.key, row.limit_version, row.limit_amount, row.posted, row.held])
      .toSorted(byKey),
    tops: tops
      .map((top) => [topKey({ ...top, scopeId: top.scope_id }), top.limit_amount, top.granted])
      .toSorted(byKey),
    holds: holds
      .map((hold) => [
        hold.id,
        hold.call_no,
        hold.attempt_no,
        hold.state,
        hold.amount,
        hold.max_tokens,
        hold.posted,
        hold.overrun,
        levelsFrom(hold.levels),
      ])
      .toSorted(byKey),
    slices: slices
      .map((slice) => [
        `${slice.run_id}|${slice.slice_no}`,
        slice.epoch,
        slice.granted_ms,
        slice.returned_ms,
        levelsFrom(slice.levels),
      ])
      .toSorted(byKey),
    lines: lines.map((row) => [row.line]).toSorted(byKey),
  };
}

it("the database answers every sequence of commands as the kernel does, and ends with the same balances", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 60 }), async (commands) => {
      const { world, claims } = await createWorld();
      let state = stateOf(world);
      for (const one of commands) {
        const operation = operationOf(one, { state, world, newHoldId: () => newId("hold") });
        if (!operation) continue;
        const decided = decide(state, operation);
        expect([operation, await perform(operation, claims)]).toEqual([operation, decided.outcome]);
        state = decided.state;
      }
      expect(await pictureOfDatabase()).toEqual(pictureOf(state));
    }),
    { numRuns: 60 },
  );
}, 120_000);
