import type pg from "pg";
import type { Db } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import {
  claimRun,
  type ClaimedRun,
  createAgent,
  createClaimedRun,
  createTenant,
} from "../test/tenant.ts";
import { budgetKey, type SeenLevel, type State, topKey } from "./kernel-state.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { setLimit } from "./limits.ts";
import {
  type Operation,
  REAP,
  START_MS,
  type World,
  WORLD_TIME_LIMIT_MS,
  worldShape,
} from "./operation-fixture.ts";
import * as queries from "./queries.ts";

// A world of rows in a real database, and what the kernel is compared with.

/** Longer than all the time that a sequence can let pass. */
const LEASE_MS = 60 * 365 * 86_400_000;

/** A connection broke: it may have happened, or not. */
export const LOST = Symbol("the answer was lost");

export type DatabaseWorld = {
  world: World;
  /** Asks the database the same as the kernel. -> its answer, or LOST */
  perform(operation: Operation): Promise<unknown>;
  /** Breaks off some connection, in use or not. */
  breakConnection(): Promise<void>;
  /** Every process ends the holds of which it had no answer. */
  endUnresolved(): Promise<void>;
  /** What is stored, in the form of `pictureOf`. */
  picture(): Promise<Picture>;
};

type Claims = Map<string, ClaimedRun[]>;

async function createRuns(admin: pg.Client): Promise<{ world: World; claims: Claims }> {
  const first = await createTenant(admin, { agentId: "agent_0" });
  const second = await createTenant(admin, {
    agentId: "agent_0",
    billingAccountId: first.billingAccountId,
  });
  await createAgent(admin, { workspaceId: first.workspaceId, agentId: "agent_1" });
  const claims: Claims = new Map();
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
    claims.set(claim.runId, [claim]);
    const { workspaceId, runId, taskId } = claim;
    const names = { workspaceId, runId, taskId, agentId };
    runs.push({ ...shape, ...names, agentTimeLimitMs: WORLD_TIME_LIMIT_MS });
  }
  return { world: { ownerId: first.billingAccountId, runs }, claims };
}

type Cast = {
  db: Db;
  admin: pg.Client;
  claims: Claims;
  ledgerOf(processId: string): Ledger;
  setClock(nowMs: number): Promise<void>;
};

async function changeRun(
  { admin, claims }: Cast,
  { runId, state }: Extract<Operation, { type: "run" }>,
): Promise<void> {
  const known = claims.get(runId)!;
  if (state === "claimed")
    known.push(await claimRun(admin, { ...known.at(-1)!, leaseMs: LEASE_MS }));
  else if (state === "parked")
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

async function ask(cast: Cast, operation: Operation): Promise<unknown> {
  const { db, claims } = cast;
  const any = cast.ledgerOf("gw_0.1");
  switch (operation.type) {
    case "reserve": {
      const { ownerId, workspaceId, runId, epoch, ...rest } = operation.ask;
      // The token of that epoch, for whoever lost the lease still has its own.
      const { tokenHash } = claims.get(runId)!.find((claim) => claim.epoch === epoch) ?? {
        tokenHash: "none",
      };
      const spender = { kind: "run", workspaceId, runId, epoch, tokenHash } as const;
      return cast.ledgerOf(ownerId).reserve({ ...rest, spender, model: "m" });
    }
    case "dispatch": {
      const { workspaceId, holdId, ownerId } = operation.ask;
      if (operation.foreign) return dispatchForeign(db, operation.ask);
      return cast.ledgerOf(ownerId).markDispatched(workspaceId, holdId);
    }
    case "settle":
      return any.settle(operation.ask);
    case "reap":
      return any.reapHolds(REAP);
    case "seen":
      return cast.ledgerOf(operation.processId).processSeen("gateway");
    case "ended":
      return any.processEnded(operation.processId);
    case "reconcile":
      return any.reconcile(operation.ask);
    case "lease_time":
      return any.leaseAgentTime(operation.ask);
    case "return_time":
      return any.returnAgentTime(operation.ask);
    case "limit":
      return db.withWorkspace(operation.ask.workspaceId, (tx) =>
        setLimit(tx, { ...operation.ask, actor: "test" }),
      );
    case "top_limit":
      return setTopLimit(db, operation.ask);
    case "run":
      return changeRun(cast, operation);
    case "time":
      return cast.setClock(operation.nowMs);
  }
}

async function setTopLimit(
  db: Db,
  change: Extract<Operation, { type: "top_limit" }>["ask"],
): Promise<number> {
  const { level, scopeId, meter, amount } = change;
  const [row] = await db.withPlatform((tx) =>
    tx.query<{ version: number }>({
      text: "SELECT set_top_limit($1, $2, $3, $4, 'test') AS version",
      values: [level, scopeId, meter, amount],
    }),
  );
  return row!.version;
}

function isLost(error: unknown): boolean {
  return error instanceof AppError && error.code === "database_unavailable";
}

/** A world of its own in a ledger that has seen nothing yet. `skewOf`: how wrong the clock of a process is. */
export async function createDatabaseWorld(deps: {
  db: Db;
  admin: pg.Client;
  skewOf(processId: string): number;
}): Promise<DatabaseWorld> {
  const { db, admin } = deps;
  await admin.query(
    "TRUNCATE ledger_lines, journal, holds, time_slices, spend_paths, budgets, limits, top_limits, top_budgets, processes, ended_processes",
  );
  const setClock = async (nowMs: number): Promise<void> => {
    await admin.query("UPDATE test_clock SET now = $1", [new Date(nowMs)]);
  };
  await setClock(START_MS);
  const { world, claims } = await createRuns(admin);
  const ledgers = new Map<string, Ledger>();
  let monotonicMs = 0;
  const ledgerOf = (processId: string): Ledger => {
    const now = () => new Date(Date.now() + deps.skewOf(processId));
    const clock = { now, monotonicMs: () => monotonicMs };
    const ledger = ledgers.get(processId) ?? createLedger({ db, processId, clock });
    ledgers.set(processId, ledger);
    return ledger;
  };
  const cast: Cast = { db, admin, claims, ledgerOf, setClock };
  return {
    world,
    async perform(operation) {
      try {
        return await ask(cast, operation);
      } catch (error) {
        if (isLost(error)) return LOST;
        throw error;
      }
    },
    async breakConnection() {
      await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND usename IN ('guildhall_ledger', 'guildhall_app')
          ORDER BY state = 'active' DESC, random() LIMIT 1`,
      );
    },
    async endUnresolved() {
      monotonicMs += 60_000;
      // More than once, for a connection may have been broken off while it was idle.
      for (let tries = 0; tries < 5; tries++)
        for (const ledger of ledgers.values()) await ledger.endUnresolved();
    },
    picture: () => pictureOfDatabase(db),
  };
}

/** By a process that does not own the hold. Past the door, which would end the hold when the answer is lost. */
async function dispatchForeign(
  db: Db,
  ask: Extract<Operation, { type: "dispatch" }>["ask"],
): Promise<unknown> {
  const [row] = await db.ledger<{ answer: unknown }>(queries.markDispatched(ask));
  return row?.answer;
}

/** What both sides must agree on, in one form. */
export type Picture = Record<string, readonly (readonly unknown[])[]>;

const seenBy = (levels: readonly SeenLevel[]) =>
  levels.map((at) => [
    at.level,
    at.scopeId,
    at.period,
    at.limitVersion,
    at.limit,
    at.posted,
    at.held,
  ]);

const byKey = (a: readonly unknown[], b: readonly unknown[]): number =>
  String(a[0]) < String(b[0]) ? -1 : 1;

export function pictureOf(state: State): Picture {
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
        hold.ownerId,
        hold.priceVersion,
        hold.amount,
        hold.maxTokens,
        hold.posted,
        hold.overrun,
        seenBy(hold.levels),
      ])
      .toSorted(byKey),
    slices: [...state.slices.values()]
      .map((slice) => [
        `${slice.runId}|${slice.sliceNo}`,
        slice.epoch,
        slice.grantedMs,
        slice.returnedMs,
        seenBy(slice.levels),
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
    ended: [...state.endedProcesses].map(([id, atMs]) => [id, atMs]).toSorted(byKey),
    alive: [...state.processes]
      .filter(([, seenAtMs]) => seenAtMs > state.nowMs - REAP.deadAfterMs)
      .map(([id, seenAtMs]) => [id, seenAtMs])
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
  levels.map((at) => [
    at.level,
    at.scope_id,
    at.period,
    at.limit_version,
    at.limit,
    at.posted,
    at.held,
  ]);

const ACCOUNT = `concat_ws('|', b.workspace_id, b.meter, b.level, b.scope_id, b.period)`;

type HoldRow = {
  id: string;
  call_no: number;
  attempt_no: number;
  state: string;
  owner_id: string;
  price_version: string;
  amount: number;
  max_tokens: number;
  posted: number | null;
  overrun: number;
  levels: Seen[];
};
type SliceRow = {
  run_id: string;
  slice_no: number;
  epoch: number;
  granted_ms: number;
  returned_ms: number;
  levels: Seen[];
};
type BudgetRow = {
  key: string;
  limit_version: number;
  limit_amount: number | null;
  posted: number;
  held: number;
};
type TopRow = {
  level: "owner" | "platform";
  scope_id: string;
  meter: "model_cost" | "agent_time";
  period: string;
  limit_amount: number;
  granted: number;
};

async function pictureOfDatabase(db: Db): Promise<Picture> {
  return db.withPlatform(async (tx) => {
    const read = <Row extends object>(text: string): Promise<Row[]> =>
      tx.query<Row>({ text, values: [] });
    const budgets = await read<BudgetRow>(
      `SELECT ${ACCOUNT} AS key, limit_version, limit_amount, posted, held FROM budgets b`,
    );
    const tops = await read<TopRow>("SELECT * FROM top_budgets");
    const holds = await read<HoldRow>(`SELECT x.*, ${SEEN} FROM holds x`);
    const slices = await read<SliceRow>(`SELECT x.*, ${SEEN} FROM time_slices x`);
    const lines = await read<{ line: string }>(
      `SELECT concat_ws('|', ${ACCOUNT}, l.kind, coalesce(l.hold_id, ''), l.amount) AS line FROM ledger_lines l
        CROSS JOIN LATERAL unnest(l.budget_ids) k(id) JOIN budgets b ON b.workspace_id = l.workspace_id AND b.id = k.id`,
    );
    const ended = await read<{ id: string; ended_at: Date }>("SELECT * FROM ended_processes");
    const alive = await tx.query<{ id: string; seen_at: Date }>({
      text: "SELECT id, seen_at FROM processes WHERE seen_at > clock_now() - make_interval(secs => $1 / 1000.0)",
      values: [REAP.deadAfterMs],
    });
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
          hold.owner_id,
          hold.price_version,
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
      ended: ended.map((row) => [row.id, row.ended_at.getTime()]).toSorted(byKey),
      alive: alive.map((row) => [row.id, row.seen_at.getTime()]).toSorted(byKey),
    };
  });
}
