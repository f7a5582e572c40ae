import type { Db, Tx } from "../platform/db.ts";
import { fileRules } from "./file-rules.ts";
import { limitRules } from "./limit-rules.ts";
import { moneyRules, quietRules } from "./money-rules.ts";
import { checkProviderCost } from "./provider-cost.ts";
import type { Law, Rule } from "./rules.ts";
import { runRules } from "./run-rules.ts";
import { useRules } from "./use-rules.ts";

const statements: readonly { law: Law; statement: string }[] = [
  { law: "I1", statement: "nothing lost" },
  { law: "I2", statement: "nothing twice" },
  { law: "I3", statement: "no overshoot" },
  { law: "I4", statement: "conservation" },
  { law: "I5", statement: "truth" },
  { law: "I6", statement: "fence" },
  { law: "I8", statement: "order" },
  { law: "I10", statement: "full use" },
];

/** What was broken: the sentence that does not hold, and the ids and figures that show it. */
export type Violation = { rule: string } & Record<string, unknown>;

export type LawResult = {
  law: Law;
  statement: string;
  ok: boolean;
  /** How many things its rules looked at, one counted once per rule. */
  checked: number;
  /** At most 100 per rule. */
  violations: Violation[];
};

const MOST_VIOLATIONS = 100;

export type Finding = { law: Law; checked: number; violations: Violation[] };

/** `scope`: a WITH clause that puts narrower tables in the place of whole ones. */
export async function applyRule(tx: Tx, rule: Rule, scope = ""): Promise<Finding> {
  const [count] = await tx.query<{ checked: number }>({
    text: `${scope} ${rule.counts}`,
    values: [],
  });
  const rows = await tx.query<Record<string, unknown>>({
    text: `${scope} SELECT * FROM (${rule.finds}) v LIMIT ${MOST_VIOLATIONS}`,
    values: [],
  });
  const violations = rows.map((row) => ({ rule: rule.name, ...row }));
  return { law: rule.law, checked: count?.checked ?? 0, violations };
}

/** For all statements that follow, so that work under way between two of them is no violation. */
export async function readOneSnapshot(tx: Tx): Promise<void> {
  await tx.query({
    text: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    values: [],
  });
}

async function findAll(tx: Tx, quiet: boolean): Promise<Finding[]> {
  await readOneSnapshot(tx);
  const findings: Finding[] = [];
  for (const rule of [
    ...runRules,
    ...fileRules,
    ...moneyRules,
    ...limitRules,
    ...useRules,
    ...(quiet ? quietRules : []),
  ])
    findings.push(await applyRule(tx, rule));
  const { checked, violations } = await checkProviderCost(tx);
  findings.push({ law: "I5", checked, violations: violations.slice(0, MOST_VIOLATIONS) });
  return findings;
}

/**
 * Checks the laws in the database, over all workspaces, without changing anything; safe beside running work.
 * `quiet` also demands that nothing is held: for after everything has ended.
 */
export async function verify(db: Db, options: { quiet?: boolean } = {}): Promise<LawResult[]> {
  const findings = await db.withPlatform((tx) => findAll(tx, options.quiet ?? false), {
    statementTimeoutMs: 600_000,
  });
  return statements.map(({ law, statement }) => {
    const own = findings.filter((finding) => finding.law === law);
    const violations = own.flatMap((finding) => finding.violations);
    const checked = own.reduce((total, finding) => total + finding.checked, 0);
    return { law, statement, ok: violations.length === 0, checked, violations };
  });
}
