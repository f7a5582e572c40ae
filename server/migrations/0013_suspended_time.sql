-- Agent time of a suspended workspace.

-- Books a slice of agent time ahead of its use, at every level, or nothing. Near a limit the slice is shorter, but a
-- slice below a second is refused: it would be gone before the work that it is for has begun.
-- `booking_no` counts the bookings of the epoch from 1, so that whoever lost an answer asks again under the same number
-- and is told what was booked then.
-- -> {status: 'granted', ms} | {status: 'stale'} | {status: 'exhausted', level, scope_id, period, limit, posted, held, needed}
--  | {status: 'suspended', reason}   the whole workspace is stopped
CREATE OR REPLACE FUNCTION lease_agent_time(workspace text, run text, an_epoch int, booking_no int, slice_ms bigint) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  ids bigint[];
  seen budgets[];
  room bigint;
  granted bigint;
  booked int;
  reason text;
  line ledger_lines;
BEGIN
  IF NOT coalesce(slice_ms BETWEEN 1 AND 86400000, false) THEN
    RAISE EXCEPTION 'lease_agent_time: impossible slice %', slice_ms USING ERRCODE = 'GH002';
  END IF;
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN '{"status":"stale"}'; END IF;
  ids := spend_path(workspace, run, 'agent_time');
  PERFORM lock_budgets(array_fill(workspace, ARRAY[cardinality(ids)]), ids);
  seen := see_levels(workspace, ids, slice_ms);
  -- Slices of a run are booked under its own row, which is locked by now: a repetition sees what the first one did.
  SELECT count(*), max(s.granted_ms) FILTER (WHERE s.n = booking_no) INTO booked, granted
    FROM (SELECT x.granted_ms, row_number() OVER (ORDER BY x.slice_no) AS n FROM time_slices x
      WHERE x.workspace_id = workspace AND x.run_id = run AND x.epoch = an_epoch) s;
  IF granted IS NOT NULL THEN RETURN jsonb_build_object('status', 'granted', 'ms', granted); END IF;
  -- What was booked before the suspension is honoured, like an open hold.
  SELECT w.suspended INTO reason FROM workspaces w WHERE w.workspace_id = workspace;
  IF reason IS NOT NULL THEN RETURN jsonb_build_object('status', 'suspended', 'reason', reason); END IF;
  IF booking_no IS DISTINCT FROM booked + 1 THEN
    RAISE EXCEPTION 'lease_agent_time: booking % follows %', booking_no, booked USING ERRCODE = 'GH002';
  END IF;
  SELECT min(l.limit_amount - l.posted - l.held) INTO room FROM unnest(seen) l;
  IF room < least(slice_ms, 1000) THEN
    -- Time is never held, so nothing returns that one could wait for.
    RETURN refusal(seen, least(slice_ms, 1000)) || '{"status":"exhausted"}';
  END IF;
  granted := least(slice_ms, room);
  SELECT coalesce(max(s.slice_no), 0) + 1 INTO line.slice_no FROM time_slices s WHERE s.workspace_id = workspace AND s.run_id = run;
  INSERT INTO time_slices (workspace_id, run_id, slice_no, epoch, granted_ms, budget_ids, seen_versions, seen_limits, seen_posted, seen_held)
    SELECT workspace, run, line.slice_no, an_epoch, granted, ids, array_agg(l.limit_version ORDER BY l.rank), array_agg(l.limit_amount ORDER BY l.rank),
      array_agg(l.posted ORDER BY l.rank), array_agg(l.held ORDER BY l.rank) FROM unnest(seen) l;
  line.kind := 'agent_time';
  line.run_id := run;
  PERFORM book_time(workspace, ids, granted, line);
  RETURN jsonb_build_object('status', 'granted', 'ms', granted);
END
$$;
