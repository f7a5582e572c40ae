import { type Clock, systemClock } from "../platform/clock.ts";
import { CONNECTION_WAIT_MS, type Db, type Statement } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";
import * as answers from "./answers.ts";
import { createGroupCommit } from "../platform/group-commit.ts";
import * as queries from "./queries.ts";
import { createUnresolvedHolds, type UnresolvedFailure } from "./unresolved-holds.ts";
import type {
  ReserveRequest,
  ReserveOutcome,
  Settlement,
  SettleOutcome,
  AgentTimeOutcome,
  AgentTimeRequest,
  Reconciliation,
  ReconcileOutcome,
  RunFence,
} from "./calls.ts";

export type Ledger = {
  /**
   * Holds the worst case of one upstream attempt at every level of the budget tree, or nothing. Thrown: nothing may be
   * sent; what stands of the hold after a lost answer is ended at no cost.
   */
  reserve(request: ReserveRequest): Promise<ReserveOutcome>;
  /**
   * Marks a hold as sent, before the first byte leaves. False or thrown: nothing may be sent. What stands of the hold
   * after a lost answer is ended at no cost.
   */
  markDispatched(workspaceId: string, holdId: string): Promise<boolean>;
  /** Ends a hold. Who comes second changes nothing, so it may be repeated after a lost answer. */
  settle(settlement: Settlement): Promise<SettleOutcome>;
  /** Whether a token's attempt holds the lease of its run: for requests that cost nothing. */
  isRunActive(call: RunFence & { tokenHash: string }): Promise<boolean>;
  /** The stored answer to a call that an earlier attempt has paid for, or that is marked as undelivered; each is given out once per attempt. */
  takeJournal(
    call: RunFence & { tokenHash: string; requestHash: string },
  ): Promise<{ holdId: string; body: Buffer } | undefined>;
  /** The stored answer of this hold did not reach the attempt, which may take it once more. May be repeated. */
  markUndelivered(call: RunFence & { requestHash: string; holdId: string }): Promise<void>;
  /**
   * Calls of the run that are still being answered and that this attempt may now be repeating: those of earlier attempts,
   * and its own at other processes, of the same model and not longer than `maxTokens`.
   */
  openCallsElsewhere(
    call: RunFence & { tokenHash: string; model: string; maxTokens: number },
  ): Promise<{ holdId: string; sameAttempt: boolean }[]>;
  /**
   * The stored answer of one of these holds to a call that this attempt asked for again before it had ended; each is given
   * out so once per attempt.
   */
  takeMissed(
    call: RunFence & { tokenHash: string; requestHash: string; holdIds: readonly string[] },
  ): Promise<{ holdId: string; body: Buffer } | undefined>;
  /** Books agent time ahead of its use. Asked again under the same number, it answers what was booked, and books nothing. */
  leaseAgentTime(request: AgentTimeRequest): Promise<AgentTimeOutcome>;
  /** Told of a first slice that was refused with the claim of its run, which `leaseAgentTime` has not seen. */
  noteRefusedTime(refused: {
    workspaceId: string;
    runId: string;
    refusal: Extract<AgentTimeOutcome, { status: "exhausted" }>;
  }): Promise<void>;
  /** Gives unused agent time of this epoch back. False: the epoch is over, or took less than that. */
  returnAgentTime(request: RunFence & { unusedMs: number }): Promise<boolean>;
  /**
   * Says that this process lives; its open holds are posted in full when it stops saying so.
   */
  processSeen(role: string): Promise<void>;
  /** Says that another process has ended: by its exit or because its place was taken over, never because it is silent. */
  processEnded(processId: string): Promise<void>;
  /** Lowers a provisional charge to what the provider says, when that proves the charge. May be repeated. */
  reconcile(reconciliation: Reconciliation): Promise<ReconcileOutcome>;
  /** Ends the holds that were never sent because the answer of the database was lost. -> those that it could not end */
  endUnresolved(): Promise<UnresolvedFailure[]>;
  /** Ends up to `atMost` holds that nobody will end any more. */
  reapHolds(rule: {
    deadAfterMs: number;
    heldForMs: number;
    atMost: number;
  }): Promise<{ voided: number; provisional: number }>;
};

/** What one transaction takes: enough to share an fsync, few enough that nobody waits long for the others. */
const MAX_ITEMS = 128;
/** While one waits for its fsync, another one computes. */
const MAX_TRANSACTIONS = 3;
const DAY_MS = 86_400_000;

type Ask = { settlement: Settlement } | { reservation: ReserveRequest };

/** Refuses amounts that are no amounts before they join others, which a refusal by the database would hold up. */
function expectPossible(request: ReserveRequest): void {
  const { inputNanoUsd, outputNanoUsdPerToken, maxTokens, minTokens } = request;
  const worst = inputNanoUsd + outputNanoUsdPerToken * maxTokens;
  const whole = [inputNanoUsd, outputNanoUsdPerToken, maxTokens, minTokens, worst];
  const possible = whole.every((amount) => Number.isSafeInteger(amount) && amount >= 0);
  invariant(
    possible && maxTokens > 0 && minTokens > 0 && worst > 0,
    `a worst case of ${inputNanoUsd} + ${outputNanoUsdPerToken} x ${maxTokens} nano-USD is impossible`,
  );
}

/** Settlements and reservations that arrive together are committed as one transaction, settlements first. */
function createSpending(db: Db, processId: string) {
  return createGroupCommit<Ask, answers.SpendingRow | undefined>({
    maxItems: MAX_ITEMS,
    maxTransactions: MAX_TRANSACTIONS,
    maxWaitMs: CONNECTION_WAIT_MS,
    async commit(items) {
      const settlements: Settlement[] = [];
      const reservations: ReserveRequest[] = [];
      for (const { ask } of items)
        if ("settlement" in ask) settlements.push(ask.settlement);
        else reservations.push(ask.reservation);
      const rows = await db.ledger<answers.SpendingRow>(
        queries.commitSpending({ settlements, reservations }, processId),
      );
      const byHold = new Map(rows.map((row) => [row.hold_id, row]));
      return items.map((item) => byHold.get(item.id));
    },
  });
}

type AgentTimeAsk = AgentTimeRequest | (RunFence & { unusedMs: number });

/** Bookings and returns of agent time that arrive together are committed as one transaction. */
function createAgentTime(
  db: Db,
): Pick<Ledger, "leaseAgentTime" | "noteRefusedTime" | "returnAgentTime"> {
  const group = createGroupCommit<AgentTimeAsk, unknown>({
    maxItems: MAX_ITEMS,
    maxTransactions: MAX_TRANSACTIONS,
    maxWaitMs: CONNECTION_WAIT_MS,
    async commit(items) {
      const asks = items.map((item) => item.ask);
      const rows = await db.ledger<{ answer: unknown }>(queries.commitAgentTime(asks));
      return rows.map((row) => row.answer);
    },
  });
  const submit = (ask: AgentTimeAsk): Promise<unknown> =>
    group.submit({ account: ask.workspaceId, id: ask.runId, ask });
  return {
    async leaseAgentTime(request) {
      const { sliceMs } = request;
      // Before it joins others, which a refusal by the database would hold up.
      invariant(
        Number.isSafeInteger(sliceMs) && sliceMs >= 1 && sliceMs <= DAY_MS,
        `a slice of ${sliceMs} ms is impossible`,
      );
      return answers.readAgentTime(await submit(request));
    },
    noteRefusedTime: () => Promise.resolve(),
    async returnAgentTime(request) {
      if (!(request.unusedMs > 0)) return false;
      return (await submit(request)) === true;
    },
  };
}

type ReapRule = Parameters<Ledger["reapHolds"]>[0];

/** One hold per transaction: several at once could not lock all their levels from leaf to root. */
async function reapHolds(db: Db, rule: ReapRule): Promise<{ voided: number; provisional: number }> {
  const total = { voided: 0, provisional: 0 };
  while (total.voided + total.provisional < rule.atMost) {
    const [reaped] = await db.ledger<{ voided: number; provisional: number }>(
      queries.reapHolds({ ...rule, atMost: 1 }),
    );
    if (!reaped || reaped.voided + reaped.provisional === 0) break;
    total.voided += reaped.voided;
    total.provisional += reaped.provisional;
  }
  return total;
}

/** The ledger over Postgres. `processId` owns the holds it makes. */
export function createLedger(deps: { db: Db; processId: string; clock?: Clock }): Ledger {
  const { db, processId } = deps;
  const spending = createSpending(db, processId);

  async function call(statement: Statement): Promise<unknown> {
    const [row] = await db.ledger<{ answer: unknown }>(statement);
    return row?.answer;
  }

  async function settle(settlement: Settlement): Promise<SettleOutcome> {
    const { workspaceId: account, holdId: id, actualNanoUsd = 0 } = settlement;
    // Before it joins others, which a refusal by the database would hold up.
    invariant(
      Number.isSafeInteger(actualNanoUsd) && actualNanoUsd >= 0,
      "a charge is not negative",
    );
    return answers.readSettle(await spending.submit({ account, id, ask: { settlement } }));
  }

  const unresolved = createUnresolvedHolds({ clock: deps.clock ?? systemClock, settle });

  async function takeAnswer(statement: Statement) {
    const [row] = await db.ledger<{ hold_id: string; body: Buffer }>(statement);
    return row && { holdId: row.hold_id, body: row.body };
  }

  return {
    ...createAgentTime(db),
    async reserve(request) {
      expectPossible(request);
      const { holdId } = request;
      const { workspaceId } = request.spender;
      return unresolved.change({ workspaceId, holdId }, async () =>
        answers.readReserve(
          await spending.submit({
            account: workspaceId,
            id: holdId,
            ask: { reservation: request },
          }),
        ),
      );
    },
    markDispatched: (workspaceId, holdId) =>
      unresolved.change(
        { workspaceId, holdId },
        async () =>
          (await call(queries.markDispatched({ workspaceId, holdId, ownerId: processId }))) ===
          true,
      ),
    settle,
    async isRunActive(request) {
      return (await call(queries.runActive(request))) === true;
    },
    takeJournal: (request) => takeAnswer(queries.takeJournal(request)),
    takeMissed: (request) => takeAnswer(queries.takeMissed(request)),
    async markUndelivered(request) {
      await call(queries.markUndelivered(request));
    },
    async openCallsElsewhere(request) {
      const rows = await db.ledger<{ hold_id: string; same_attempt: boolean }>(
        queries.openCallsElsewhere({ ...request, processId }),
      );
      return rows.map((row) => ({ holdId: row.hold_id, sameAttempt: row.same_attempt }));
    },
    async processSeen(role) {
      await call(queries.processSeen({ processId, role }));
    },
    async processEnded(ended) {
      await call(queries.processEnded(ended));
    },
    async reconcile(reconciliation) {
      return answers.readReconcile(await call(queries.reconcile(reconciliation)));
    },
    endUnresolved: () => unresolved.end(),
    reapHolds: (rule) => reapHolds(db, rule),
  };
}
