-- Bookings and returns of agent time of many runs as one transaction, so that runs of one workspace, which all count
-- against the same balances, do not wait for each other's fsync. Each is what lease_agent_time and return_agent_time
-- make of it, one after the other; what all of them count against is locked before the first, in the order of locks.
-- asks: [{workspace_id, run_id, epoch, booking_no, slice_ms}, a return with unused_ms instead of the last two; each run once]
-- -> place in asks from 1, and the answer
CREATE TYPE time_ask AS (workspace_id text, run_id text, epoch int, booking_no int, slice_ms bigint, unused_ms bigint);
CREATE FUNCTION commit_agent_time(asks json) RETURNS TABLE (place int, answer jsonb)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  items time_ask[] := ARRAY(SELECT json_populate_recordset(NULL::time_ask, asks));
  a time_ask;
  workspace_ids text[];
  run_ids text[];
BEGIN
  PERFORM 1 FROM (SELECT x.workspace_id, x.run_id FROM unnest(items) x ORDER BY x.workspace_id COLLATE "C", x.run_id COLLATE "C") i
    CROSS JOIN LATERAL (SELECT 1 FROM runs r WHERE r.workspace_id = i.workspace_id AND r.id = i.run_id FOR SHARE) r;
  SELECT array_agg(x.workspace_id), array_agg(x.run_id) INTO workspace_ids, run_ids FROM unnest(items) x
      JOIN runs r ON r.workspace_id = x.workspace_id AND r.id = x.run_id AND r.epoch = x.epoch AND r.state = 'claimed' AND r.lease_until > clock_now()
    WHERE x.slice_ms IS NOT NULL
      AND NOT EXISTS (SELECT FROM spend_paths p WHERE p.workspace_id = x.workspace_id AND p.spender_id = x.run_id AND p.meter = 'agent_time' AND p.day = spend_day());
  IF run_ids IS NOT NULL THEN PERFORM open_paths(workspace_ids, run_ids, 'agent_time'); END IF;
  PERFORM lock_budgets(array_agg(k.workspace_id), array_agg(k.id)) FROM (
    SELECT p.workspace_id, unnest(p.budget_ids) AS id FROM unnest(items) x
      JOIN spend_paths p ON p.workspace_id = x.workspace_id AND p.spender_id = x.run_id AND p.meter = 'agent_time' WHERE x.slice_ms IS NOT NULL
    UNION SELECT s.workspace_id, unnest(s.budget_ids) FROM unnest(items) x
      JOIN time_slices s ON s.workspace_id = x.workspace_id AND s.run_id = x.run_id AND s.epoch = x.epoch WHERE x.unused_ms IS NOT NULL) k;
  -- Chunks are handed out one by one; their rows are locked in the order of all before the first, if there may be any.
  PERFORM 1 FROM top_budgets t WHERE (t.level, t.scope_id, t.meter, t.period) IN (
      SELECT b.level, b.scope_id, b.meter, b.period
        FROM (SELECT *, sum(y.slice_ms) OVER (PARTITION BY y.workspace_id) AS slices FROM unnest(items) y) x
          JOIN spend_paths p ON p.workspace_id = x.workspace_id AND p.spender_id = x.run_id AND p.meter = 'agent_time'
          JOIN budgets b ON b.workspace_id = p.workspace_id AND b.id = ANY (p.budget_ids)
        WHERE b.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL AND b.limit_amount - b.posted - b.held < x.slices)
    ORDER BY t.level, t.scope_id, t.meter, t.period FOR UPDATE;
  FOR i IN 1 .. cardinality(items) LOOP
    a := items[i];
    place := i;
    IF a.unused_ms IS NULL THEN answer := lease_agent_time(a.workspace_id, a.run_id, a.epoch, a.booking_no, a.slice_ms);
    ELSE answer := to_jsonb(return_agent_time(a.workspace_id, a.run_id, a.epoch, a.unused_ms));
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION commit_agent_time(json) TO guildhall_ledger;
-- Asked for through the group only.
REVOKE EXECUTE ON FUNCTION lease_agent_time(text, text, int, int, bigint), return_agent_time(text, text, int, bigint) FROM guildhall_ledger;
