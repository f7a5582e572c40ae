import type { SettleOutcome } from "../ledger/calls.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";
import type { ProviderUsageReport, ReportedCall, UsageReport } from "./usage-report.ts";

export type ReconcileRound = {
  /** Provisional charges that were looked at. */
  seen: number;
  /** Those that were lowered (or confirmed) by what the provider reported, or returned because it never saw the call. */
  reported: number;
  neverSeen: number;
  /** What was taken off, nano-USD. */
  loweredNanoUsd: number;
};

/** Since this process was started. */
export type ReconcileTotals = Omit<ReconcileRound, "seen"> & {
  /** Charges that the last round left as they were. */
  unresolved: number;
};

export type Reconcile = {
  totals: Readonly<ReconcileTotals>;
  /** One round over at most some thousands of provisional charges; the next one goes on where it ended. */
  run(): Promise<ReconcileRound>;
};

type ProvisionalHold = {
  workspace_id: string;
  id: string;
  amount: number;
  dispatched_at: Date;
  /** When the process that held it is known to have ended. */
  owner_ended_at: Date | null;
};

type Verdict =
  | { by: "report"; costNanoUsd: number; calls: readonly ReportedCall[] }
  /** The sender can send nothing any more, and the provider's complete report knows nothing of the call. */
  | { by: "absence"; costNanoUsd: 0; calls: readonly []; finalBefore: Date };

const nameOf = (hold: ProvisionalHold) => ({ workspaceId: hold.workspace_id, holdId: hold.id });

const PAGE = 100;
const PAGES_PER_ROUND = 50;
const START = { workspaceId: "", id: "" };

async function provisionalHolds(
  db: Db,
  after: { workspaceId: string; id: string },
): Promise<ProvisionalHold[]> {
  return db.withPlatform((tx) =>
    tx.query<ProvisionalHold>({
      text: `SELECT h.workspace_id, h.id, h.amount, h.dispatched_at, e.ended_at AS owner_ended_at
        FROM holds h LEFT JOIN ended_processes e ON e.id = h.owner_id
        WHERE h.state = 'PROVISIONAL' AND (h.workspace_id, h.id) > ($1, $2)
        ORDER BY h.workspace_id, h.id LIMIT ${PAGE}`,
      values: [after.workspaceId, after.id],
    }),
  );
}

/**
 * What a provisional charge may be lowered to; undefined: not known (yet). That a report does not name a call proves
 * nothing while its sender may live: frozen after its dispatch mark, it could wake up and send.
 */
export function judge(
  hold: { id: string; dispatchedAt: Date; ownerEndedAt: Date | null },
  known: { report: UsageReport; askedAt: Date; lagMs: number },
): Verdict | undefined {
  const { report, askedAt, lagMs } = known;
  const calls = report.calls.get(hold.id) ?? [];
  if (calls.length > 0) {
    if (!calls.every((call) => call.final)) return undefined;
    return {
      by: "report",
      costNanoUsd: calls.reduce((sum, call) => sum + call.costNanoUsd, 0),
      calls,
    };
  }
  const { ownerEndedAt } = hold;
  const finalBefore = new Date(askedAt.getTime() - lagMs);
  const neverSeen =
    ownerEndedAt !== null &&
    ownerEndedAt < finalBefore &&
    report.completeSince !== undefined &&
    report.completeSince <= hold.dispatchedAt;
  return neverSeen ? { by: "absence", costNanoUsd: 0, calls: [], finalBefore } : undefined;
}

/** Sums the counts of a hold's requests; there is one, unless the provider counted a request twice. */
function usageOf(calls: readonly ReportedCall[]): Record<string, unknown> {
  const usage: Record<string, number> = {};
  for (const call of calls)
    for (const [name, count] of Object.entries(call.usage))
      usage[name] = (usage[name] ?? 0) + count;
  return usage;
}

/**
 * Lowers provisional charges to what the provider reports, never above what was held (an excess goes to the platform's
 * account, as with every settlement). The database's clock decides what happened before what.
 */
export function createReconcile(deps: {
  db: Db;
  ledger: Pick<Ledger, "settle" | "reconcile">;
  report: ProviderUsageReport;
  log: Logger;
}): Reconcile {
  const { db, report, log } = deps;
  let after = START;
  const totals: ReconcileTotals = { reported: 0, neverSeen: 0, loweredNanoUsd: 0, unresolved: 0 };

  async function lower(hold: ProvisionalHold, verdict: Verdict): Promise<number | undefined> {
    const outcome =
      verdict.by === "report"
        ? await settleAsReported(hold, verdict)
        : await deps.ledger.reconcile({
            ...nameOf(hold),
            chargedNanoUsd: 0,
            proof: { kind: "report", finalBeforeMs: verdict.finalBefore.getTime() },
          });
    // Unchanged: its owner was only slow, and told the outcome itself meanwhile.
    if (outcome.status !== "done") return undefined;
    if (outcome.overrunNanoUsd > 0)
      log.error(
        { hold_id: hold.id, overrun_nano_usd: outcome.overrunNanoUsd },
        "the provider's report charges more than was held; the platform bears the excess",
      );
    return hold.amount - outcome.postedNanoUsd;
  }

  /** The figure is of this very request: it is stored with its counts, from which the charge can be recomputed. */
  function settleAsReported(hold: ProvisionalHold, verdict: Verdict): Promise<SettleOutcome> {
    const { calls, costNanoUsd } = verdict;
    return deps.ledger.settle({
      ...nameOf(hold),
      outcome: "settled",
      actualNanoUsd: costNanoUsd,
      usage: { ...usageOf(calls), request_id: calls[0]?.requestId ?? "", reconciled: true },
    });
  }

  async function page(holds: readonly ProvisionalHold[], round: ReconcileRound): Promise<void> {
    const [now] = await db.withPlatform((tx) =>
      tx.query<{ now: Date }>({ text: "SELECT clock_now() AS now", values: [] }),
    );
    if (now === undefined) return;
    const found = await report.find(holds.map((hold) => hold.id));
    for (const hold of holds) {
      const verdict = judge(
        { id: hold.id, dispatchedAt: hold.dispatched_at, ownerEndedAt: hold.owner_ended_at },
        { report: found, askedAt: now.now, lagMs: report.lagMs },
      );
      if (verdict === undefined) continue;
      const lowered = await lower(hold, verdict);
      if (lowered === undefined) continue;
      round[verdict.by === "report" ? "reported" : "neverSeen"] += 1;
      round.loweredNanoUsd += lowered;
    }
  }

  return {
    totals,
    async run() {
      const round: ReconcileRound = { seen: 0, reported: 0, neverSeen: 0, loweredNanoUsd: 0 };
      for (let pages = 0; pages < PAGES_PER_ROUND; pages++) {
        const holds = await provisionalHolds(db, after);
        round.seen += holds.length;
        if (holds.length > 0) await page(holds, round);
        const last = holds.at(-1);
        after =
          last === undefined || holds.length < PAGE
            ? START
            : { workspaceId: last.workspace_id, id: last.id };
        if (after === START) break;
      }
      totals.reported += round.reported;
      totals.neverSeen += round.neverSeen;
      totals.loweredNanoUsd += round.loweredNanoUsd;
      totals.unresolved = round.seen - round.reported - round.neverSeen;
      return round;
    },
  };
}
