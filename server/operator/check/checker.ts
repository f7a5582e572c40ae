import type { Clock } from "../../platform/clock.ts";
import type { Db, Tx } from "../../platform/db.ts";
import type { Logger } from "../../platform/log.ts";
import { limitRules } from "../limit-rules.ts";
import { moneyRules } from "../money-rules.ts";
import { checkProviderCost } from "../provider-cost.ts";
import type { Law } from "../rules.ts";
import { useRules } from "../use-rules.ts";
import { applyRule, type Finding, readOneSnapshot } from "../verify.ts";
import { createLineSums } from "./line-sums.ts";
import { recentRows } from "./recent-rows.ts";

/** What the continuous check knows. */
export type CheckState = {
  /** Whether nothing was found to be broken in the last hour; only the laws that it checks. */
  laws: ReadonlyMap<Law, boolean>;
  /** When the last pass ended, monotonic; undefined: none has yet. */
  endedAtMs: number | undefined;
  durationMs: number;
  checked: number;
};

export type Checker = {
  /** One pass over what is new and open. Throws when the database does not answer. */
  run(): Promise<void>;
  state(): CheckState;
};

const rules = [...moneyRules, ...limitRules, ...useRules].filter((rule) => !rule.wholeHistory);
const LAWS: readonly Law[] = [...new Set(rules.map((rule) => rule.law))];

/** A statement of the ledger may take 5 s: what it writes carries a time before a snapshot that does not show it. */
const OVERLAP_MS = 15_000;
/** The first pass, and one after a long pause, look back so far at most; `guildhall verify` looks at all. */
const LOOK_BACK_MS = 10 * 60_000;
/** Long enough to be seen by whoever looks now and then, also when the row is no longer new. */
const STAYS_BROKEN_MS = 3_600_000;
const MOST_LOGGED = 20;

/** Checks the money laws I2 to I5 and I10 over what has changed, as often as it is asked to, and remembers what it found. */
export function createChecker(deps: { db: Db; clock: Clock; log: Logger }): Checker {
  const { db, clock, log } = deps;
  const brokenAtMs = new Map<Law, number>();
  let lineSums = createLineSums();
  let lastSnapshotAt: Date | undefined;
  let state: CheckState = { laws: new Map(), endedAtMs: undefined, durationMs: 0, checked: 0 };

  async function findRecent(tx: Tx): Promise<Finding[]> {
    await readOneSnapshot(tx);
    const [now] = await tx.query<{ now: Date }>({ text: "SELECT clock_now() AS now", values: [] });
    const nowMs = (now?.now ?? new Date()).getTime();
    const since = new Date(
      Math.max(nowMs - LOOK_BACK_MS, (lastSnapshotAt?.getTime() ?? 0) - OVERLAP_MS),
    );
    const scope = recentRows(since);
    const findings: Finding[] = [];
    for (const rule of rules) findings.push(await applyRule(tx, rule, scope));
    findings.push({ law: "I5", ...(await checkProviderCost(tx, scope)) });
    // After a longer pause lines are missing between then and now: it begins anew.
    if ((lastSnapshotAt?.getTime() ?? nowMs) - OVERLAP_MS < since.getTime() - 1)
      lineSums = createLineSums();
    findings.push(await lineSums.check(tx, since));
    lastSnapshotAt = new Date(nowMs);
    return findings;
  }

  function report(findings: readonly Finding[]): void {
    for (const { law, violations } of findings) {
      if (violations.length === 0) continue;
      brokenAtMs.set(law, clock.monotonicMs());
      log.error(
        { law, count: violations.length, violations: violations.slice(0, MOST_LOGGED) },
        "a law of the ledger is broken; run `guildhall verify` and see docs of operator/",
      );
    }
  }

  return {
    async run() {
      const startedMs = clock.monotonicMs();
      const findings = await db.withPlatform(findRecent, { statementTimeoutMs: 30_000 });
      report(findings);
      const endedAtMs = clock.monotonicMs();
      state = {
        laws: new Map(
          LAWS.map((law) => {
            const atMs = brokenAtMs.get(law);
            return [law, atMs === undefined || endedAtMs - atMs > STAYS_BROKEN_MS];
          }),
        ),
        endedAtMs,
        durationMs: endedAtMs - startedMs,
        checked: findings.reduce((sum, finding) => sum + finding.checked, 0),
      };
    },
    state: () => state,
  };
}
