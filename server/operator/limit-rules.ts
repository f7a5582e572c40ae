import { SEEN_LEVELS } from "./hold-levels.ts";
import type { Rule } from "./rules.ts";

/** Levels whose limits are versioned rows of the workspace. */
const OWN_LEVELS = `('key', 'task', 'agent', 'workspace')`;

/** I3: what was admitted was admitted under the limit of that moment. */
export const limitRules: readonly Rule[] = [
  {
    law: "I3",
    name: "an admission saw the limit that was in force",
    counts: `SELECT count(*) AS checked FROM ${SEEN_LEVELS} s WHERE s.level IN ${OWN_LEVELS}`,
    // A change takes effect when it has the balance's lock, which it may wait for as long as a statement may last.
    finds: `SELECT s.workspace_id, s.ref, s.meter, s.level, s.scope_id, s.limit_version, s.limit_amount FROM ${SEEN_LEVELS} s
      WHERE s.level IN ${OWN_LEVELS} AND (
        EXISTS (SELECT FROM limits l WHERE l.workspace_id = s.workspace_id AND l.meter = s.meter AND l.level = s.level AND l.scope_id = s.scope_id
          AND l.version > s.limit_version AND l.changed_at < s.at - interval '10 seconds')
        OR (s.limit_version > 0 AND NOT EXISTS (SELECT FROM limits l WHERE l.workspace_id = s.workspace_id AND l.meter = s.meter AND l.level = s.level
          AND l.scope_id = s.scope_id AND l.version = s.limit_version AND l.amount IS NOT DISTINCT FROM s.limit_amount)))`,
  },
  {
    law: "I3",
    name: "a balance is at most the highest limit that its admissions saw",
    wholeHistory: true,
    counts: "SELECT count(*) AS checked FROM budgets",
    finds: `SELECT s.workspace_id, s.budget_id, s.meter, s.level, s.scope_id, s.period, s.posted, s.held, max(s.limit_amount) AS highest FROM ${SEEN_LEVELS} s
      GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
      HAVING count(s.limit_amount) = count(*) AND s.posted + s.held > max(s.limit_amount)`,
  },
];
