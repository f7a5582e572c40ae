import type { Rule } from "./rules.ts";

const TOP = `('owner', 'platform')`;
const counted = (condition: string): string =>
  `SELECT count(*) AS checked FROM refusals WHERE ${condition}`;

/** The most output that a call may be said to need at the least: with a thinking budget. */
const LARGEST_FLOOR_TOKENS = 2_048;
/** A timer may go off a little early. */
const TIMER_MS = 5;

/** I10: full use. What was refused, as far as it was recorded and is not forgotten yet. */
export const useRules: readonly Rule[] = [
  {
    law: "I10",
    name: "reserved and exhausted are told apart, and nothing is refused that fits",
    counts: counted("true"),
    // At a level above the workspaces, what one of them was handed says nothing about what is left for all.
    finds: `SELECT workspace_id, id AS refusal_id, status, level, scope_id, limit_amount, posted, held, needed FROM refusals
      WHERE limit_amount - posted - held >= needed
        OR (level NOT IN ${TOP} AND (status = 'exhausted') <> (limit_amount - posted < needed))`,
  },
  {
    law: "I10",
    name: "a level that was said to be exhausted had no room for the smallest form of the call",
    counts: counted("status = 'exhausted'"),
    // What was lowered or raised in between may have made the room after the refusal.
    finds: `SELECT r.workspace_id, r.id AS refusal_id, r.level, r.scope_id, r.needed, r.posted, r.found_limit, r.found_posted FROM refusals r
      WHERE r.status = 'exhausted' AND r.found_limit - r.found_posted >= r.needed
        AND (r.level IN ${TOP} OR r.found_limit = r.limit_amount)
        AND NOT EXISTS (SELECT FROM ledger_lines x, budgets b WHERE x.kind = 'lowered' AND b.workspace_id = x.workspace_id AND b.id = ANY (x.budget_ids)
          AND b.level = r.level AND b.scope_id = r.scope_id AND b.period = r.period AND x.at BETWEEN r.at - interval '10 seconds' AND r.at)
        AND NOT EXISTS (SELECT FROM top_limits t WHERE t.level = r.level AND t.scope_id = r.scope_id AND t.changed_at BETWEEN r.at - interval '10 seconds' AND r.at)`,
  },
  {
    law: "I10",
    name: "the smallest form of a call is as small as it can be",
    counts: counted("true"),
    finds: `SELECT workspace_id, id AS refusal_id, needed, input_nano_usd, output_nano_usd_per_token, max_tokens, min_tokens FROM refusals
      WHERE needed <> input_nano_usd + output_nano_usd_per_token * least(max_tokens, min_tokens) OR least(max_tokens, min_tokens) > ${LARGEST_FLOOR_TOKENS}`,
  },
  {
    law: "I10",
    name: "a call waits for open holds before it is refused",
    counts: counted("status = 'reserved'"),
    finds: `SELECT workspace_id, id AS refusal_id, waited_ms, wait_ms FROM refusals WHERE status = 'reserved' AND waited_ms + ${TIMER_MS} < wait_ms`,
  },
];
