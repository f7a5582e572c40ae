-- Bookings and returns of agent time of many runs as one transaction, so that runs of one workspace, which all count
-- against the same balances, do not wait for each other's fsync. They are made one after the
-- other, returns first. As with holds, what surely fits is booked all at once, and only what
-- is in doubt by lease_agent_time: one by one a booking costs ten times as much.

-- A booking, or a return (unused_ms) of an attempt that may still give back. budget_ids NULL: not opened yet today.
CREATE TYPE asked_time AS (workspace_id text, run_id text, epoch int, booking_no int, slice_ms bigint, unused_ms bigint, budget_ids bigint[], n bigint);

-- Those whose attempt has the lease of its run, or for a return had it last. Shared lock: the lease cannot be taken away
-- between this check and the booking.
CREATE FUNCTION asked_times(items json) RETURNS asked_time[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  today text := spend_day();
  asked asked_time[];
BEGIN
  SELECT array_agg(ROW(l.workspace_id, l.run_id, l.epoch, l.booking_no, l.slice_ms, l.unused_ms, l.budget_ids, l.n)::asked_time ORDER BY l.n) INTO asked
    FROM (SELECT i.*, p.budget_ids
      FROM (SELECT * FROM ROWS FROM (json_to_recordset(items) AS (workspace_id text, run_id text, epoch int, booking_no int, slice_ms bigint, unused_ms bigint)) WITH ORDINALITY i
        (workspace_id, run_id, epoch, booking_no, slice_ms, unused_ms, n) ORDER BY i.workspace_id COLLATE "C", i.run_id COLLATE "C") i
        CROSS JOIN LATERAL (SELECT 1 FROM runs x WHERE x.workspace_id = i.workspace_id AND x.id = i.run_id AND x.epoch = i.epoch
          AND ((x.state = 'claimed' AND x.lease_until > clock_now()) OR (i.unused_ms > 0 AND x.state IN ('parked', 'ended'))) FOR SHARE) r
        LEFT JOIN LATERAL (SELECT x.budget_ids FROM spend_paths x WHERE x.workspace_id = i.workspace_id AND x.spender_id = i.run_id AND x.meter = 'agent_time' AND x.day = today OFFSET 0) p ON true) l;
  RETURN asked;
END
$$;

-- Books so many milliseconds, or takes them back, on all accounts of each line. Their rows are locked.
CREATE TYPE time_line AS (workspace_id text, run_id text, slice_no int, ms bigint, budget_ids bigint[], n bigint);
CREATE FUNCTION book_times(lines time_line[], line_kind text) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM change_budgets(array_agg(c.workspace_id), array_agg(c.id), array_agg(c.ms), array_agg(0::bigint))
    FROM (SELECT x.workspace_id, k.id, sum(x.ms)::bigint AS ms FROM unnest(lines) x, unnest(x.budget_ids) k(id) GROUP BY 1, 2) c;
  INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, run_id, slice_no)
    SELECT x.workspace_id, 'agent_time', line_kind, x.ms, x.budget_ids, x.run_id, x.slice_no FROM unnest(lines) x;
END
$$;

-- Gives unused time back to the slices of each attempt, newest first, and never more than they took. Also after the run
-- has parked or ended, as long as no later epoch began: who stops a task should not pay for time that was not used.
-- -> the places of those that were given back
CREATE FUNCTION give_times_back(asked asked_time[]) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_hashjoin = off
AS $$
DECLARE
  parts time_line[];
BEGIN
  SELECT array_agg(ROW(s.workspace_id, s.run_id, s.slice_no, -least(s.rest, s.unused_ms - s.before), s.budget_ids, s.n)::time_line) INTO parts FROM (
    SELECT a.workspace_id, a.run_id, a.unused_ms, a.n, x.slice_no, x.budget_ids, x.granted_ms - x.returned_ms AS rest,
        coalesce(sum(x.granted_ms - x.returned_ms) OVER (PARTITION BY a.n ORDER BY x.slice_no DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS before,
        sum(x.granted_ms - x.returned_ms) OVER (PARTITION BY a.n) AS of_all
      FROM unnest(asked) a CROSS JOIN LATERAL (SELECT * FROM time_slices y
        WHERE y.workspace_id = a.workspace_id AND y.run_id = a.run_id AND y.epoch = a.epoch AND y.returned_ms < y.granted_ms OFFSET 0) x
      WHERE a.unused_ms > 0) s
    WHERE s.of_all >= s.unused_ms AND s.before < s.unused_ms;
  IF parts IS NULL THEN RETURN '{}'; END IF;
  UPDATE time_slices x SET returned_ms = x.returned_ms - p.ms FROM unnest(parts) p WHERE x.workspace_id = p.workspace_id AND x.run_id = p.run_id AND x.slice_no = p.slice_no;
  PERFORM book_times(parts, 'agent_time_returned');
  RETURN ARRAY(SELECT DISTINCT p.n FROM unnest(parts) p);
END
$$;

-- Bookings that need a closer look: one that repeats another or follows none, whose workspace is suspended, or that
-- with all the others here does not surely fit at each of its levels. -> their places
CREATE FUNCTION times_in_doubt(asked asked_time[]) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  doubtful bigint[];
BEGIN
  WITH a AS MATERIALIZED (SELECT * FROM unnest(asked)),
  tight AS MATERIALIZED (
    SELECT b.workspace_id, b.id FROM (SELECT a.workspace_id, k.id, sum(a.slice_ms) AS needed FROM a, unnest(a.budget_ids) k(id) GROUP BY 1, 2) w
      CROSS JOIN LATERAL (SELECT * FROM budgets x WHERE x.workspace_id = w.workspace_id AND x.id = w.id OFFSET 0) b
      WHERE b.limit_amount IS NOT NULL AND (b.posted + b.held + w.needed > b.limit_amount OR (b.level IN ('owner', 'platform') AND EXISTS (
        SELECT FROM top_budgets t WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period AND t.granted > t.limit_amount)))),
  suspended AS MATERIALIZED (
    SELECT w.workspace_id FROM (SELECT DISTINCT a.workspace_id FROM a) d JOIN workspaces w ON w.workspace_id = d.workspace_id WHERE w.suspended IS NOT NULL)
  SELECT array_agg(a.n) INTO doubtful FROM a
    WHERE a.budget_ids IS NULL OR NOT coalesce(a.slice_ms BETWEEN 1 AND 86400000, false)
      OR a.booking_no IS DISTINCT FROM 1 + (SELECT count(*) FROM time_slices x WHERE x.workspace_id = a.workspace_id AND x.run_id = a.run_id AND x.epoch = a.epoch)
      OR (EXISTS (SELECT FROM tight) AND EXISTS (SELECT FROM tight t, unnest(a.budget_ids) k(id) WHERE t.workspace_id = a.workspace_id AND t.id = k.id))
      OR a.workspace_id IN (SELECT s.workspace_id FROM suspended s);
  RETURN coalesce(doubtful, '{}');
END
$$;

-- Books slices that surely fit. Each sees what those before it have booked.
CREATE FUNCTION take_times(asked asked_time[]) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  lines time_line[];
  seen seen_levels[];
BEGIN
  SELECT array_agg(ROW(a.workspace_id, a.run_id, l.slice_no + 1, a.slice_ms, a.budget_ids, a.n)::time_line ORDER BY a.n) INTO lines
    FROM unnest(asked) a CROSS JOIN LATERAL (SELECT coalesce((SELECT x.slice_no FROM time_slices x WHERE x.workspace_id = a.workspace_id AND x.run_id = a.run_id
      ORDER BY x.slice_no DESC LIMIT 1), 0) AS slice_no) l;
  WITH u AS MATERIALIZED (SELECT a.workspace_id, a.n, k.id, k.place, a.slice_ms FROM unnest(asked) a CROSS JOIN LATERAL unnest(a.budget_ids) WITH ORDINALITY k(id, place)),
  b AS MATERIALIZED (SELECT x.* FROM (SELECT DISTINCT u.workspace_id, u.id FROM u) d
    CROSS JOIN LATERAL (SELECT y.id, y.limit_version, y.limit_amount, y.posted, y.held FROM budgets y WHERE y.workspace_id = d.workspace_id AND y.id = d.id OFFSET 0) x)
  SELECT array_agg(ROW(i.versions, i.limits, i.posted, i.held)::seen_levels ORDER BY i.n) INTO seen FROM (
    SELECT l.n, array_agg(l.limit_version ORDER BY l.place) AS versions, array_agg(l.limit_amount ORDER BY l.place) AS limits,
        array_agg(l.posted ORDER BY l.place) AS posted, array_agg(l.held ORDER BY l.place) AS held
      FROM (SELECT u.n, u.place, b.limit_version, b.limit_amount, b.held,
          b.posted + coalesce(sum(u.slice_ms) OVER (PARTITION BY u.id ORDER BY u.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS posted
        FROM u JOIN b ON b.id = u.id) l
      GROUP BY l.n) i;
  INSERT INTO time_slices (workspace_id, run_id, slice_no, epoch, granted_ms, budget_ids, seen_versions, seen_limits, seen_posted, seen_held)
    SELECT x.workspace_id, x.run_id, x.slice_no, x.epoch, x.ms, x.budget_ids, x.versions, x.limits, x.posted, x.held
      FROM ROWS FROM (unnest(lines), unnest(asked), unnest(seen)) x(workspace_id, run_id, slice_no, ms, budget_ids, n,
        a_workspace_id, a_run_id, epoch, booking_no, slice_ms, unused_ms, a_budget_ids, a_n, versions, limits, posted, held);
  PERFORM book_times(lines, 'agent_time');
END
$$;

-- asks: [{workspace_id, run_id, epoch, booking_no, slice_ms}, a return with unused_ms instead of the last two; each run once]
-- -> place in asks from 1, and the answer
-- Plans are kept per connection, also those of when the tables were small; so only ones that follow an index are made.
CREATE FUNCTION commit_agent_time(asks json) RETURNS TABLE (place int, answer jsonb)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_mergejoin = off SET enable_material = off SET join_collapse_limit = 1
AS $$
DECLARE
  asked asked_time[] := asked_times(asks);
  bookings asked_time[];
  returns asked_time[];
  given_back bigint[];
  doubtful bigint[];
  a asked_time;
BEGIN
  PERFORM 1 FROM unnest(asked) x WHERE x.slice_ms IS NOT NULL AND x.budget_ids IS NULL LIMIT 1;
  IF FOUND THEN
    PERFORM open_paths(array_agg(x.workspace_id), array_agg(x.run_id), 'agent_time') FROM unnest(asked) x WHERE x.slice_ms IS NOT NULL AND x.budget_ids IS NULL;
    asked := asked_times(asks);
  END IF;
  RETURN QUERY SELECT i.n::int, CASE WHEN i.ask->>'unused_ms' IS NULL THEN '{"status":"stale"}' ELSE 'false' END::jsonb
    FROM json_array_elements(asks) WITH ORDINALITY i(ask, n) WHERE NOT EXISTS (SELECT FROM unnest(asked) x WHERE x.n = i.n);
  SELECT array_agg(x ORDER BY x.n) FILTER (WHERE x.unused_ms IS NULL), array_agg(x ORDER BY x.n) FILTER (WHERE x.unused_ms IS NOT NULL) INTO bookings, returns FROM unnest(asked) x;
  PERFORM lock_budgets(array_agg(k.workspace_id), array_agg(k.id)) FROM (
    SELECT x.workspace_id, i.id FROM unnest(bookings) x, unnest(x.budget_ids) i(id)
    UNION SELECT x.workspace_id, i.id FROM unnest(returns) x CROSS JOIN LATERAL (SELECT y.budget_ids FROM time_slices y
      WHERE y.workspace_id = x.workspace_id AND y.run_id = x.run_id AND y.epoch = x.epoch OFFSET 0) s, unnest(s.budget_ids) i(id)) k;

  IF returns IS NOT NULL THEN
    given_back := give_times_back(returns);
    RETURN QUERY SELECT x.n::int, to_jsonb(x.n = ANY (given_back)) FROM unnest(returns) x;
  END IF;
  IF bookings IS NULL THEN RETURN; END IF;
  doubtful := times_in_doubt(bookings);
  IF cardinality(doubtful) < cardinality(bookings) THEN
    PERFORM take_times(array_agg(x ORDER BY x.n)) FROM unnest(bookings) x WHERE x.n <> ALL (doubtful);
    RETURN QUERY SELECT x.n::int, jsonb_build_object('status', 'granted', 'ms', x.slice_ms) FROM unnest(bookings) x WHERE x.n <> ALL (doubtful);
  END IF;
  IF cardinality(doubtful) = 0 THEN RETURN; END IF;
  -- Chunks of shared limits are handed out one by one; their rows are locked in the order of all before the first.
  PERFORM 1 FROM top_budgets t WHERE (t.level, t.scope_id, t.meter, t.period) IN (
      SELECT b.level, b.scope_id, b.meter, b.period FROM unnest(bookings) x CROSS JOIN LATERAL unnest(x.budget_ids) i(id) JOIN budgets b ON b.workspace_id = x.workspace_id AND b.id = i.id
        WHERE x.n = ANY (doubtful) AND b.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL)
    ORDER BY t.level, t.scope_id, t.meter, t.period FOR UPDATE;
  FOR a IN SELECT * FROM unnest(bookings) x WHERE x.n = ANY (doubtful) ORDER BY x.n LOOP
    place := a.n;
    answer := lease_agent_time(a.workspace_id, a.run_id, a.epoch, a.booking_no, a.slice_ms);
    RETURN NEXT;
  END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION asked_times(json), book_times(time_line[], text), give_times_back(asked_time[]), times_in_doubt(asked_time[]), take_times(asked_time[]) FROM PUBLIC;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION asked_times(json), book_times(time_line[], text), give_times_back(asked_time[]), times_in_doubt(asked_time[]), take_times(asked_time[]) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION commit_agent_time(json) TO guildhall_ledger;
-- Asked for through the group only.
REVOKE EXECUTE ON FUNCTION lease_agent_time(text, text, int, int, bigint) FROM guildhall_ledger;
