import type { Db } from "../../platform/db.ts";
import { findPrice } from "../../gateway/request/prices.ts";
import type { ReconcileRound } from "../reconcile.ts";
import { verify, type LawResult } from "../verify.ts";
import { type Agents, MAX_TOKENS } from "./agents.ts";

/** Money, all nano-USD. */
type LedgerFigures = {
  posted_nano_usd: number;
  held_nano_usd: number;
  overrun_nano_usd: number;
  holds: number;
  provisional_holds: number;
};

/** What the demonstration found out; also its `--json` form. */
export type Proof = {
  passed: boolean;
  /** Why it did not pass. */
  faults: readonly string[];
  agents: number;
  seconds: number;
  seed: number;
  budget_nano_usd: number;
  /** The provider's own meter, which never sees the ledger. */
  provider: { requests: number; billed: number; cost_nano_usd: number };
  ledger: LedgerFigures;
  /** Share of the budget that the provider's meter says was used. */
  used_percent: number;
  /** The most that posted and held amounted to at any look. */
  highest_nano_usd: number;
  gateways_killed: number;
  calls: Agents["ends"];
  reconciled: Omit<ReconcileRound, "seen">;
  /** The dearest call that agents may ask for: a budget of 20 times that must be usable to 99 %. */
  dearest_call_nano_usd: number;
  laws: readonly Pick<LawResult, "law" | "statement" | "ok" | "checked">[];
};

/** The least share of the budget that must have been used. */
const LEAST_USED_PERCENT = 99;

/** What the workspace has spent, holds, and what of it is not known for certain. */
export async function ledgerFigures(db: Db, workspaceId: string): Promise<LedgerFigures> {
  const [row] = await db.withPlatform((tx) =>
    tx.query<LedgerFigures>({
      text: `SELECT coalesce(sum(b.posted) FILTER (WHERE b.level = 'workspace'), 0)::bigint AS posted_nano_usd,
          coalesce(sum(b.held) FILTER (WHERE b.level = 'workspace'), 0)::bigint AS held_nano_usd,
          coalesce(sum(b.posted) FILTER (WHERE b.level = 'overrun'), 0)::bigint AS overrun_nano_usd,
          (SELECT count(*) FROM holds h WHERE h.workspace_id = $1) AS holds,
          (SELECT count(*) FROM holds h WHERE h.workspace_id = $1 AND h.state = 'PROVISIONAL') AS provisional_holds
        FROM budgets b WHERE b.workspace_id = $1 AND b.meter = 'model_cost'`,
      values: [workspaceId],
    }),
  );
  return (
    row ?? {
      posted_nano_usd: 0,
      held_nano_usd: 0,
      overrun_nano_usd: 0,
      holds: 0,
      provisional_holds: 0,
    }
  );
}

function dearestCall(): number {
  const price = findPrice("claude-sonnet-5-5");
  // The longest prompt that an agent makes up has some 3,500 bytes, each of them at most one token.
  return price === undefined
    ? 0
    : 3_500 * price.rates.inputNanoUsd + MAX_TOKENS.most * price.rates.outputNanoUsd;
}

/** Judges by the provider's meter and by the laws, never by the ledger's own word. */
export async function judgeProof(
  db: Db,
  found: Omit<Proof, "passed" | "faults" | "used_percent" | "laws" | "dearest_call_nano_usd">,
): Promise<Proof> {
  const laws = await verify(db, { quiet: true });
  const { provider, ledger, budget_nano_usd: budget } = found;
  const usedPercent = (provider.cost_nano_usd / budget) * 100;
  const checks: readonly [holds: boolean, fault: string][] = [
    [provider.cost_nano_usd <= budget, "the provider charged more than the budget"],
    [usedPercent >= LEAST_USED_PERCENT, `less than ${LEAST_USED_PERCENT} % of the budget was used`],
    [
      ledger.posted_nano_usd + ledger.overrun_nano_usd >= provider.cost_nano_usd,
      "the ledger has less than the provider charged",
    ],
    [found.highest_nano_usd <= budget, "more was posted and held than the budget"],
    [ledger.held_nano_usd === 0, "money is still held"],
    [ledger.provisional_holds === 0, "some charges are still provisional"],
    ...laws.map(({ law, statement, ok }): [boolean, string] => [
      ok,
      `${law} ${statement} is broken`,
    ]),
  ];
  const faults = checks.flatMap(([holds, fault]) => (holds ? [] : [fault]));
  return {
    passed: faults.length === 0,
    faults,
    ...found,
    used_percent: usedPercent,
    dearest_call_nano_usd: dearestCall(),
    laws: laws.map(({ law, statement, ok, checked }) => ({ law, statement, ok, checked })),
  };
}

const dollars = (nanoUsd: number): string => `$${(nanoUsd / 1e9).toFixed(6)}`;

/** For people. */
export function renderProof(proof: Proof): string {
  const { provider, ledger, calls, reconciled } = proof;
  const asked = Object.values(calls).reduce((sum, count) => sum + count, 0);
  const brokenLaws = proof.laws.filter(({ ok }) => !ok).map(({ law }) => law);
  const lines = [
    `budget                ${dollars(proof.budget_nano_usd)} for ${proof.agents} agents; ${proof.gateways_killed} gateways killed with kill -9 in ${proof.seconds} s (seed ${proof.seed})`,
    `calls                 ${asked} asked: ${calls.answered} answered, ${calls.aborted} hung up on, ${calls.broken} broken off, ${calls.budget_exhausted + calls.budget_reserved} refused with 402${calls.refused === 0 ? "" : `, ${calls.refused} refused otherwise`}`,
    `provider's own meter  ${dollars(provider.cost_nano_usd)} for ${provider.billed} billed of ${provider.requests} requests`,
    `ledger                ${dollars(ledger.posted_nano_usd)} posted, ${dollars(ledger.held_nano_usd)} held, ${ledger.provisional_holds} provisional; at most ${dollars(proof.highest_nano_usd)} posted and held at once`,
    `reconciled            ${reconciled.reported} charges by the provider's report, ${reconciled.neverSeen} that it never saw: ${dollars(reconciled.loweredNanoUsd)} returned and spent again`,
    `used                  ${proof.used_percent.toFixed(3)} % of the budget; the dearest call could cost ${dollars(proof.dearest_call_nano_usd)}`,
    `laws                  ${brokenLaws.length === 0 ? `${proof.laws.map(({ law }) => law).join(" ")} hold` : `BROKEN: ${brokenLaws.join(" ")}`}`,
    proof.passed ? "✓ passed" : `✖ failed: ${proof.faults.join("; ")}`,
  ];
  return `${lines.join("\n")}\n`;
}
