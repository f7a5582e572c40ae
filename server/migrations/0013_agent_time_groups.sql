-- Bookings and returns of agent time of many runs as one transaction, so that runs of one workspace, which all count
-- against the same balances, do not wait for each other's fsync. Each is what lease_agent_time and return_agent_time
-- make of it, one after the other; what all of them count against is locked before the first, in the order of locks.
-- asks: [{workspace_id, run_id, epoch, booking_no, slice_ms}, a return with unused_ms instead of the last two; each run once]
-- -> place in asks from 1, and the answer
CREATE FUNCTION commit_agent_time(asks json) RETURNS TABLE (place int, answer jsonb)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  a record;
  workspace_ids text[];
  run_ids text[];
BEGIN
  PERFORM 1 FROM (SELECT x.workspace_id, x.run_id FROM json_to_recordset(asks) x(workspace_id text, run_id text) ORDER BY x.workspace_id COLLATE "C", x.run_id COLLATE "C") i
    CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.workspace_id = i.workspace_id AND r.id = i.run_id FOR SHARE) r;
  SELECT array_agg(x.workspace_id), array_agg(x.run_id) INTO workspace_ids, run_ids
    FROM json_to_recordset(asks) x(workspace_id text, run_id text, epoch int, slice_ms bigint)
      JOIN runs r ON r.workspace_id = x.workspace_id AND r.id = x.run_id AND r.epoch = x.epoch AND r.state = 'claimed' AND r.lease_until > clock_now()
    WHERE x.slice_ms IS NOT NULL
      AND NOT EXISTS (SELECT FROM spend_paths p WHERE p.workspace_id = x.workspace_id AND p.spender_id = x.run_id AND p.meter = 'agent_time' AND p.day = spend_day());
  IF run_ids IS NOT NULL THEN PERFORM open_paths(workspace_ids, run_ids, 'agent_time'); END IF;
  PERFORM lock_budgets(array_agg(k.workspace_id), array_agg(k.id)) FROM (
    SELECT p.workspace_id, unnest(p.budget_ids) AS id FROM json_to_recordset(asks) x(workspace_id text, run_id text, slice_ms bigint)
      JOIN spend_paths p ON p.workspace_id = x.workspace_id AND p.spender_id = x.run_id AND p.meter = 'agent_time' WHERE x.slice_ms IS NOT NULL
    UNION SELECT s.workspace_id, unnest(s.budget_ids) FROM json_to_recordset(asks) x(workspace_id text, run_id text, epoch int, unused_ms bigint)
      JOIN time_slices s ON s.workspace_id = x.workspace_id AND s.run_id = x.run_id AND s.epoch = x.epoch WHERE x.unused_ms IS NOT NULL) k;
  -- Chunks are handed out one by one; their rows are locked in the order of all before the first, if there may be any.
  PERFORM 1 FROM top_budgets t WHERE (t.level, t.scope_id, t.meter, t.period) IN (
      SELECT b.level, b.scope_id, b.meter, b.period FROM (
          SELECT x.workspace_id, sum(x.slice_ms) AS slices FROM json_to_recordset(asks) x(workspace_id text, slice_ms bigint) WHERE x.slice_ms IS NOT NULL GROUP BY 1) w
        JOIN json_to_recordset(asks) x(workspace_id text, run_id text) ON x.workspace_id = w.workspace_id
        JOIN spend_paths p ON p.workspace_id = x.workspace_id AND p.spender_id = x.run_id AND p.meter = 'agent_time'
        JOIN budgets b ON b.workspace_id = p.workspace_id AND b.id = ANY (p.budget_ids)
        WHERE b.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL AND b.limit_amount - b.posted - b.held < w.slices)
    ORDER BY t.level, t.scope_id, t.meter, t.period FOR UPDATE;
  FOR a IN SELECT x.*, row_number() OVER () AS n FROM json_to_recordset(asks) x(workspace_id text, run_id text, epoch int, booking_no int, slice_ms bigint, unused_ms bigint) LOOP
    place := a.n;
    IF a.unused_ms IS NULL THEN answer := lease_agent_time(a.workspace_id, a.run_id, a.epoch, a.booking_no, a.slice_ms);
    ELSE answer := to_jsonb(return_agent_time(a.workspace_id, a.run_id, a.epoch, a.unused_ms));
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

DO $$
BEGIN
  GRANT CREATE ON SCHEMA public TO guildhall_definer;
  REVOKE EXECUTE ON FUNCTION commit_agent_time(json) FROM PUBLIC;
  ALTER FUNCTION commit_agent_time(json) OWNER TO guildhall_definer;
  REVOKE CREATE ON SCHEMA public FROM guildhall_definer;
END
$$;
GRANT EXECUTE ON FUNCTION commit_agent_time(json) TO guildhall_ledger;
-- Asked for through the group only.
REVOKE EXECUTE ON FUNCTION lease_agent_time(text, text, int, int, bigint), return_agent_time(text, text, int, bigint) FROM guildhall_ledger;
