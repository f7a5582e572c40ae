import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import type { WorkspaceTx } from "../platform/db.ts";

const MONTH = `to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM')`;
const MONTH_START = `(date_trunc('month', clock_now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')`;

/**
 * What is counted and has no limit. Everything but socket time and storage is summed from the rows that it is about, so it
 * cannot drift from them; each sum reads the rows of one month by an index. Storage is the sum that the quota is held
 * against, kept with each content that comes and goes.
 */
export function readCounted(tx: WorkspaceTx): Promise<Usage["counted"]> {
  return tx.query({
    name: "usage_counted",
    text: `WITH tokens AS (
        SELECT sum((h.usage->>'input_tokens')::bigint) AS input, sum((h.usage->>'cache_read_input_tokens')::bigint) AS cache_read,
          sum((h.usage->>'cache_creation_5m_input_tokens')::bigint) AS cache_write_5m, sum((h.usage->>'cache_creation_1h_input_tokens')::bigint) AS cache_write_1h,
          sum((h.usage->>'output_tokens')::bigint) AS output
        FROM holds h WHERE h.workspace_id = current_workspace() AND h.held_at >= ${MONTH_START}
      )
      SELECT c.meter, coalesce(c.used, 0)::bigint AS used, CASE c.meter WHEN 'storage_bytes' THEN 'now' ELSE ${MONTH} END AS period FROM (
        SELECT x.* FROM tokens t, LATERAL (VALUES (1, 'input_tokens', t.input), (2, 'cache_read_tokens', t.cache_read), (3, 'cache_write_5m_tokens', t.cache_write_5m),
          (4, 'cache_write_1h_tokens', t.cache_write_1h), (5, 'output_tokens', t.output)) AS x(place, meter, used)
        UNION ALL SELECT 6, 'tool_calls', count(*) FROM steps s WHERE s.workspace_id = current_workspace() AND s.kind = 'tool' AND s.started_at >= ${MONTH_START}
        UNION ALL SELECT 7, 'events', count(*) FROM events e WHERE e.workspace_id = current_workspace() AND e.at >= ${MONTH_START}
        UNION ALL SELECT 8, 'storage_bytes', sum(s.used_bytes) FROM workspace_storage s WHERE s.workspace_id = current_workspace()
        UNION ALL SELECT 9, 'socket_time', sum(o.open_ms) FROM socket_time o WHERE o.workspace_id = current_workspace() AND o.day >= ${MONTH}
      ) c ORDER BY c.place`,
    values: [],
  });
}
