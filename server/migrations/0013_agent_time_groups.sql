-- Bookings and returns of agent time of many runs as one transaction, so that runs of one workspace, which all count
-- against the same balances, do not wait for each other's fsync. They are made one after the
-- other, returns first. As with holds, what surely fits is booked all at once, and only what
-- is in doubt by lease_agent_time: one by one a booking costs ten times as much. A claim books the first slice of what it
-- claims, and the end of a run gives back what it did not use, each in its own transaction.

CREATE TYPE weighed_time AS (workspace_id text, run_id text, slice_no int, epoch int, ms bigint, budget_ids bigint[],
  versions int[], limits bigint[], posted bigint[], held bigint[], doubtful boolean, n bigint);
-- budget_id NULL: its balance is not open yet.
CREATE TYPE time_level AS (workspace_id text, run_id text, level text, scope_id text, period text, rank smallint, budget_id bigint);
CREATE TYPE time_line AS (workspace_id text, run_id text, slice_no int, ms bigint, budget_ids bigint[], n bigint);

-- Those whose attempt has the lease of its run, or for a return had it last. What an attempt did not use whose lease was
-- taken back came back with it. Shared lock: the lease cannot be taken away between this check and the booking.
CREATE FUNCTION asked_times(items json) RETURNS asked_time[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  asked asked_time[];
BEGIN
  SELECT array_agg(ROW(i.workspace_id, i.run_id, i.epoch, i.booking_no, i.slice_ms, i.unused_ms, NULL, i.n)::asked_time ORDER BY i.n) INTO asked
    FROM (SELECT * FROM ROWS FROM (json_to_recordset(items) AS (workspace_id text, run_id text, epoch int, booking_no int, slice_ms bigint, unused_ms bigint)) WITH ORDINALITY i
      (workspace_id, run_id, epoch, booking_no, slice_ms, unused_ms, n) ORDER BY i.workspace_id COLLATE "C", i.run_id COLLATE "C") i
      CROSS JOIN LATERAL (SELECT 1 FROM runs x WHERE x.workspace_id = i.workspace_id AND x.id = i.run_id AND x.epoch = i.epoch
        AND ((x.state = 'claimed' AND x.lease_until > clock_now()) OR (i.unused_ms > 0 AND x.state IN ('parked', 'ended') AND NOT EXISTS (
          SELECT FROM attempts t WHERE t.workspace_id = x.workspace_id AND t.run_id = x.id AND t.epoch = x.epoch AND t.end_reason = 'lease_lost'))) FOR SHARE) r;
  RETURN asked;
END
$$;

-- The balances that each booking counts against today: those of its run's last slice, or else they are opened. Before any
-- balance is locked, as in open_paths.
CREATE FUNCTION time_paths(asked asked_time[]) RETURNS asked_time[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_hashjoin = on
AS $$
DECLARE
  today text := spend_day();
  month text := left(today, 7);
  a asked_time;
  is_first boolean := true;
  levels time_level[];
  missing spent_level[];
BEGIN
  -- A first slice of a first attempt follows none; without asking, for most are such.
  FOREACH a IN ARRAY asked LOOP is_first := is_first AND a.epoch = 1 AND a.booking_no = 1; END LOOP;
  IF NOT is_first THEN
    SELECT array_agg(ROW(x.workspace_id, x.run_id, x.epoch, x.booking_no, x.slice_ms, x.unused_ms, s.budget_ids, x.n)::asked_time ORDER BY x.n) INTO asked
      FROM unnest(asked) x LEFT JOIN LATERAL (
        SELECT y.budget_ids FROM (SELECT z.budget_ids FROM time_slices z WHERE z.workspace_id = x.workspace_id AND z.run_id = x.run_id ORDER BY z.slice_no DESC LIMIT 1) y
          CROSS JOIN LATERAL (SELECT b.period FROM budgets b WHERE b.workspace_id = x.workspace_id AND b.id = y.budget_ids[cardinality(y.budget_ids)] OFFSET 0) b WHERE b.period = today) s ON true;
  END IF;
  WITH RECURSIVE spender AS MATERIALIZED (
    SELECT x.workspace_id, x.run_id, r.task_id, w.billing_account_id AS payer
      FROM unnest(asked) x CROSS JOIN LATERAL (SELECT y.task_id FROM runs y WHERE y.workspace_id = x.workspace_id AND y.id = x.run_id OFFSET 0) r
        CROSS JOIN LATERAL (SELECT y.billing_account_id FROM workspaces y WHERE y.workspace_id = x.workspace_id OFFSET 0) w
      WHERE x.budget_ids IS NULL),
  line AS (
    SELECT s.workspace_id, s.run_id, s.payer, t.id, t.parent_task_id, t.agent_id, t.depth, true AS own FROM spender s
      CROSS JOIN LATERAL (SELECT * FROM tasks y WHERE y.workspace_id = s.workspace_id AND y.id = s.task_id OFFSET 0) t
    UNION ALL
    SELECT l.workspace_id, l.run_id, l.payer, t.id, t.parent_task_id, t.agent_id, t.depth, false FROM line l
      CROSS JOIN LATERAL (SELECT * FROM tasks y WHERE y.workspace_id = l.workspace_id AND y.id = l.parent_task_id OFFSET 0) t),
  key AS MATERIALIZED (
    SELECT l.workspace_id, l.run_id, k.level, k.scope_id, k.period, k.rank FROM line l CROSS JOIN LATERAL (VALUES
        ('task', l.id, 'all', level_rank('task', l.depth), false), ('run', l.run_id, 'all', level_rank('run'), true), ('agent', l.agent_id, month, level_rank('agent'), true),
        ('workspace', l.workspace_id, month, level_rank('workspace'), true), ('owner', l.payer, month, level_rank('owner'), true),
        ('platform', 'platform', today, level_rank('platform'), true)) k(level, scope_id, period, rank, once) WHERE l.own OR NOT k.once)
  SELECT array_agg(ROW(k.workspace_id, k.run_id, k.level, k.scope_id, k.period, k.rank, b.id)::time_level) INTO levels
    FROM key k LEFT JOIN LATERAL (SELECT y.id FROM budgets y
      WHERE y.workspace_id = k.workspace_id AND y.meter = 'agent_time' AND y.level = k.level AND y.scope_id = k.scope_id AND y.period = k.period OFFSET 0) b ON true;
  IF levels IS NULL THEN RETURN asked; END IF;
  SELECT array_agg(ROW(k.workspace_id, NULL, k.level, k.scope_id, k.period, k.rank)::spent_level ORDER BY k.rank, k.workspace_id COLLATE "C", k.scope_id COLLATE "C") INTO missing
    FROM (SELECT DISTINCT l.workspace_id, l.level, l.scope_id, l.period, l.rank FROM unnest(levels) l WHERE l.budget_id IS NULL) k;
  IF missing IS NOT NULL THEN PERFORM open_budgets('agent_time', missing); END IF;
  SELECT array_agg(ROW(x.workspace_id, x.run_id, x.epoch, x.booking_no, x.slice_ms, x.unused_ms, coalesce(x.budget_ids, p.ids), x.n)::asked_time ORDER BY x.n) INTO asked
    FROM unnest(asked) x LEFT JOIN (SELECT l.workspace_id, l.run_id, array_agg(coalesce(l.budget_id, (SELECT y.id FROM budgets y
          WHERE y.workspace_id = l.workspace_id AND y.meter = 'agent_time' AND y.level = l.level AND y.scope_id = l.scope_id AND y.period = l.period)) ORDER BY l.rank) AS ids
        FROM unnest(levels) l GROUP BY 1, 2) p ON p.workspace_id = x.workspace_id AND p.run_id = x.run_id;
  RETURN asked;
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
  SELECT array_agg(ROW(s.workspace_id, s.run_id, s.slice_no, least(s.rest, s.unused_ms - s.before), s.budget_ids, s.n)::time_line) INTO parts FROM (
    SELECT a.workspace_id, a.run_id, a.unused_ms, a.n, x.slice_no, x.budget_ids, x.granted_ms - x.returned_ms AS rest,
        coalesce(sum(x.granted_ms - x.returned_ms) OVER (PARTITION BY a.n ORDER BY x.slice_no DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS before,
        sum(x.granted_ms - x.returned_ms) OVER (PARTITION BY a.n) AS of_all
      FROM unnest(asked) a CROSS JOIN LATERAL (SELECT * FROM time_slices y
        WHERE y.workspace_id = a.workspace_id AND y.run_id = a.run_id AND y.epoch = a.epoch AND y.returned_ms < y.granted_ms OFFSET 0) x
      WHERE a.unused_ms > 0) s
    WHERE s.of_all >= s.unused_ms AND s.before < s.unused_ms;
  IF parts IS NULL THEN RETURN '{}'; END IF;
  WITH given AS (
    UPDATE time_slices x SET returned_ms = x.returned_ms + p.ms FROM unnest(parts) p WHERE x.workspace_id = p.workspace_id AND x.run_id = p.run_id AND x.slice_no = p.slice_no)
  INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, run_id, slice_no)
    SELECT p.workspace_id, 'agent_time', 'agent_time_returned', -p.ms, p.budget_ids, p.run_id, p.slice_no FROM unnest(parts) p;
  -- In the order of locks, and last, for they are the busiest.
  UPDATE budgets b SET posted = b.posted - o.ms
    FROM (SELECT p.workspace_id, k.id, sum(p.ms)::bigint AS ms FROM unnest(parts) p, unnest(p.budget_ids) WITH ORDINALITY k(id, place) GROUP BY 1, 2
      ORDER BY min(path_rank(k.place, cardinality(p.budget_ids))), p.workspace_id COLLATE "C", k.id) o
    WHERE b.workspace_id = o.workspace_id AND b.id = o.id;
  RETURN ARRAY(SELECT DISTINCT p.n FROM unnest(parts) p);
END
$$;

-- Of returns those that are still to be made: what a cancelled attempt did not use may have come back by the job.
CREATE FUNCTION returns_due(asked asked_time[]) RETURNS asked_time[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  taken bigint[];
BEGIN
  WITH gone AS (
    DELETE FROM cancelled_attempts c USING unnest(asked) x WHERE c.workspace_id = x.workspace_id AND c.run_id = x.run_id AND c.epoch = x.epoch RETURNING x.n)
  SELECT array_agg(g.n) INTO taken FROM gone g;
  RETURN ARRAY(SELECT x FROM unnest(asked) x WHERE x.n = ANY (taken) OR NOT EXISTS (SELECT FROM attempts t
    WHERE t.workspace_id = x.workspace_id AND t.run_id = x.run_id AND t.epoch = x.epoch AND t.end_reason = 'cancelled') ORDER BY x.n);
END
$$;

-- Books, as if all of it fitted, what is asked for; `sign` -1 takes it back. Locks, changes and reads the balances, each
-- once, as change_levels does for holds.
CREATE FUNCTION change_times(asked asked_time[], sign int) RETURNS changed_level[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_hashjoin = off SET enable_bitmapscan = off
AS $$
DECLARE
  levels changed_level[];
BEGIN
  WITH l AS (
    UPDATE budgets b SET posted = b.posted + o.ms
      FROM (SELECT a.workspace_id, k.id, sum(sign * a.slice_ms)::bigint AS ms FROM unnest(asked) a, unnest(a.budget_ids) WITH ORDINALITY k(id, place) GROUP BY 1, 2
        ORDER BY min(path_rank(k.place, cardinality(a.budget_ids))), a.workspace_id COLLATE "C", k.id) o
      WHERE b.workspace_id = o.workspace_id AND b.id = o.id
      RETURNING b.*)
  SELECT array_agg(ROW(l.id, l.level, l.scope_id, l.meter, l.period, l.limit_version, l.limit_amount, l.posted, l.held, l.calls, true,
      coalesce(l.posted + l.held > l.limit_amount, false))::changed_level) INTO levels FROM l;
  RETURN levels;
END
$$;

-- What becomes of bookings whose levels are changed. The levels hold all of them: what one saw is that less its own and
-- all that come after it.
-- In doubt are those that need a closer look: one that repeats another or follows none, whose workspace is suspended, or
-- that with all the others here does not surely fit at each of its levels.
CREATE FUNCTION weigh_times(asked asked_time[], levels changed_level[]) RETURNS weighed_time[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_hashjoin = on
AS $$
DECLARE
  weighed weighed_time[];
BEGIN
  WITH tight AS MATERIALIZED (
    SELECT l.id FROM unnest(levels) l WHERE l.is_full
      OR (l.level IN ('owner', 'platform') AND l.limit_amount IS NOT NULL AND EXISTS (
        SELECT FROM top_budgets t WHERE t.level = l.level AND t.scope_id = l.scope_id AND t.meter = l.meter AND t.period = l.period AND t.granted > t.limit_amount))
      OR (l.level = 'workspace' AND EXISTS (SELECT FROM workspaces w WHERE w.workspace_id = l.scope_id AND w.suspended IS NOT NULL))),
  seen AS MATERIALIZED (
    SELECT v.n, array_agg(v.limit_version ORDER BY v.place) AS versions, array_agg(v.limit_amount ORDER BY v.place) AS limits,
        array_agg(v.posted ORDER BY v.place) AS posted, array_agg(v.held ORDER BY v.place) AS held
      FROM (SELECT a.n, k.place, l.limit_version, l.limit_amount, l.held, l.posted - (sum(a.slice_ms) OVER (PARTITION BY k.id ORDER BY a.n DESC ROWS UNBOUNDED PRECEDING))::bigint AS posted
        FROM unnest(asked) a CROSS JOIN LATERAL unnest(a.budget_ids) WITH ORDINALITY k(id, place) JOIN unnest(levels) l ON l.id = k.id) v
      GROUP BY v.n)
  SELECT array_agg(ROW(a.workspace_id, a.run_id, t.slice_no + 1, a.epoch, a.slice_ms, a.budget_ids, s.versions, s.limits, s.posted, s.held,
      a.booking_no IS DISTINCT FROM t.booked + 1 OR a.budget_ids && (SELECT coalesce(array_agg(x.id), '{}') FROM tight x), a.n)::weighed_time ORDER BY a.n) INTO weighed
    FROM unnest(asked) a JOIN seen s ON s.n = a.n CROSS JOIN LATERAL (SELECT coalesce(max(x.slice_no), 0) AS slice_no, count(*) FILTER (WHERE x.epoch = a.epoch) AS booked
      FROM time_slices x WHERE x.workspace_id = a.workspace_id AND x.run_id = a.run_id) t;
  RETURN weighed;
END
$$;

-- Books slices of runs whose lease the caller has locked. asked: each run once, and nothing but bookings
-- -> n of asked, and the answer of lease_agent_time
CREATE FUNCTION book_times(asked asked_time[]) RETURNS TABLE (place int, answer jsonb)
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  weighed weighed_time[];
  certain asked_time[];
  doubtful asked_time[] := '{}';
  a asked_time;
  w weighed_time;
BEGIN
  FOREACH a IN ARRAY asked LOOP
    IF NOT coalesce(a.slice_ms BETWEEN 1 AND 86400000, false) THEN RAISE EXCEPTION 'book_times: impossible slice %', a.slice_ms USING ERRCODE = 'GH002'; END IF;
  END LOOP;
  weighed := weigh_times(asked, change_times(asked, 1));
  FOR i IN 1 .. cardinality(weighed) LOOP
    IF weighed[i].doubtful THEN doubtful := array_append(doubtful, asked[i]); ELSE certain := array_append(certain, asked[i]); END IF;
  END LOOP;
  IF cardinality(doubtful) > 0 THEN
    PERFORM change_times(asked, -1);
    weighed := CASE WHEN certain IS NOT NULL THEN weigh_times(certain, change_times(certain, 1)) END;
  END IF;
  IF weighed IS NOT NULL THEN
    WITH slice AS (
      INSERT INTO time_slices (workspace_id, run_id, slice_no, epoch, granted_ms, budget_ids, seen_versions, seen_limits, seen_posted, seen_held)
        SELECT x.workspace_id, x.run_id, x.slice_no, x.epoch, x.ms, x.budget_ids, x.versions, x.limits, x.posted, x.held FROM unnest(weighed) x)
    INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, run_id, slice_no)
      SELECT x.workspace_id, 'agent_time', 'agent_time', x.ms, x.budget_ids, x.run_id, x.slice_no FROM unnest(weighed) x;
    FOREACH w IN ARRAY weighed LOOP
      place := w.n;
      answer := jsonb_build_object('status', 'granted', 'ms', w.ms);
      RETURN NEXT;
    END LOOP;
  END IF;
  IF cardinality(doubtful) = 0 THEN RETURN; END IF;
  -- Chunks of shared limits are handed out one by one; their rows are locked in the order of all before the first.
  PERFORM 1 FROM top_budgets t WHERE (t.level, t.scope_id, t.meter, t.period) IN (
      SELECT b.level, b.scope_id, b.meter, b.period FROM unnest(doubtful) x CROSS JOIN LATERAL unnest(x.budget_ids) i(id) JOIN budgets b ON b.workspace_id = x.workspace_id AND b.id = i.id
        WHERE b.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL)
    ORDER BY t.level, t.scope_id, t.meter, t.period FOR UPDATE;
  FOREACH a IN ARRAY doubtful LOOP
    place := a.n;
    answer := lease_agent_time(a.workspace_id, a.run_id, a.epoch, a.booking_no, a.slice_ms);
    RETURN NEXT;
  END LOOP;
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
  due asked_time[];
  given_back bigint[];
BEGIN
  IF coalesce(cardinality(asked), 0) < json_array_length(asks) THEN
    RETURN QUERY SELECT i.n::int, CASE WHEN i.ask->>'unused_ms' IS NULL THEN '{"status":"stale"}' ELSE 'false' END::jsonb
      FROM json_array_elements(asks) WITH ORDINALITY i(ask, n) WHERE NOT EXISTS (SELECT FROM unnest(asked) x WHERE x.n = i.n);
  END IF;
  SELECT array_agg(x ORDER BY x.n) FILTER (WHERE x.unused_ms IS NULL), array_agg(x ORDER BY x.n) FILTER (WHERE x.unused_ms IS NOT NULL) INTO bookings, returns FROM unnest(asked) x;
  IF bookings IS NOT NULL THEN bookings := time_paths(bookings); END IF;
  IF returns IS NOT NULL THEN
    due := returns_due(returns);
    IF bookings IS NOT NULL THEN
      -- Those of both in one order.
      PERFORM lock_budgets(array_agg(k.workspace_id), array_agg(k.id)) FROM (
        SELECT x.workspace_id, i.id FROM unnest(bookings) x, unnest(x.budget_ids) i(id)
        UNION SELECT x.workspace_id, i.id FROM unnest(due) x CROSS JOIN LATERAL (SELECT y.budget_ids FROM time_slices y
          WHERE y.workspace_id = x.workspace_id AND y.run_id = x.run_id AND y.epoch = x.epoch OFFSET 0) s, unnest(s.budget_ids) i(id)) k;
    END IF;
    given_back := give_times_back(due);
    RETURN QUERY SELECT x.n::int, to_jsonb(x.n = ANY (given_back)) FROM unnest(returns) x;
  END IF;
  IF bookings IS NOT NULL THEN RETURN QUERY SELECT * FROM book_times(bookings); END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION asked_times(json), time_paths(asked_time[]), give_times_back(asked_time[]), returns_due(asked_time[]), change_times(asked_time[], int), weigh_times(asked_time[], changed_level[]), book_times(asked_time[]) FROM PUBLIC;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION asked_times(json), time_paths(asked_time[]), give_times_back(asked_time[]), returns_due(asked_time[]), change_times(asked_time[], int), weigh_times(asked_time[], changed_level[]), book_times(asked_time[]) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION commit_agent_time(json) TO guildhall_ledger;
-- Asked for through the group only.
REVOKE EXECUTE ON FUNCTION lease_agent_time(text, text, int, int, bigint) FROM guildhall_ledger;
