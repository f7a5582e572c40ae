-- Lock order of everything below: runs and API keys (shared, so that what was checked stands), holds, then the balances
-- by rank, that is from leaf to root, then the shared rows of the top levels, billing accounts before the platform; those
-- of one kind by their key. Two transactions that meet never wait in a circle.

-- One lock per limit, held by who changes it and shared by who opens a balance row under it. Without it a row that is
-- opened while the limit changes would keep the old limit until its period ends.
-- It, and the two like it below, are bodies that were parsed once and become part of their callers: as functions with a
-- search path of their own they were planned at each call, some 0.05 ms.
CREATE FUNCTION limit_lock(workspace text, a_meter text, a_level text, scope text) RETURNS bigint
  LANGUAGE sql IMMUTABLE
  RETURN hashtextextended(workspace || ' ' || a_meter || ' ' || a_level || ' ' || scope, 0);

-- The place of a level in the order of locks. A task stands before the task above it.
CREATE FUNCTION level_rank(a_level text, depth int DEFAULT 0) RETURNS smallint
  LANGUAGE sql IMMUTABLE
  RETURN (CASE a_level WHEN 'run' THEN 0 WHEN 'task' THEN 999 - least(depth, 998) WHEN 'agent' THEN 1000 WHEN 'key' THEN 1000
    WHEN 'workspace' THEN 1001 WHEN 'owner' THEN 1002 WHEN 'platform' THEN 1003 WHEN 'overrun' THEN 1004 END)::smallint;

-- The same of the balance at a place of a path, from 1, without reading it: a path ends with agent or key, workspace, owner
-- and platform, and that of a run begins with it and its tasks.
CREATE FUNCTION path_rank(place bigint, length int) RETURNS smallint
  LANGUAGE sql IMMUTABLE
  RETURN (CASE WHEN place = 1 AND length > 4 THEN 0 ELSE 1003 - length + place END)::smallint;

-- Sets the workspace's chunk of a top level so that it fits `needed` more than it has: by at least 1 % of what is left,
-- so that there is something left for the thousandth workspace, too. When too little is left, all that workspaces were handed and do not use is taken back first, this
-- one's own too; so a chunk that nobody needs refuses nobody, and after the limit was lowered money that returns does
-- not stay with whom it returned to. Rows in use by others at this moment are passed over, never waited for.
-- -> how much the row's limit changed
CREATE FUNCTION grant_chunk(b budgets, needed bigint) RETURNS bigint
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  top top_budgets;
  own bigint := 0;
  others bigint := 0;
  rest bigint;
  chunk bigint;
BEGIN
  SELECT * INTO top FROM top_budgets t WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period FOR UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
  IF top.limit_amount - top.granted < greatest(needed, 0) THEN
    own := greatest(0, b.limit_amount - b.posted - b.held);
    IF top.limit_amount - top.granted < needed THEN
      WITH unused AS (
        SELECT x.workspace_id, x.limit_amount - x.posted - x.held AS amount FROM budgets x
          WHERE x.level = b.level AND x.scope_id = b.scope_id AND x.meter = b.meter AND x.period = b.period AND x.level IN ('owner', 'platform')
            AND x.workspace_id <> b.workspace_id AND x.limit_amount > x.posted + x.held
          FOR UPDATE SKIP LOCKED
      ), lowered AS (
        UPDATE budgets x SET limit_amount = x.limit_amount - u.amount FROM unused u
          WHERE x.workspace_id = u.workspace_id AND x.level = b.level AND x.scope_id = b.scope_id AND x.meter = b.meter AND x.period = b.period
          RETURNING u.amount
      )
      SELECT coalesce(sum(l.amount), 0) INTO others FROM lowered l;
    END IF;
  END IF;
  rest := top.limit_amount - top.granted + own + others;
  chunk := greatest(0, least(rest, greatest(needed + own, rest / 100)));
  UPDATE top_budgets t SET granted = top.granted - own - others + chunk
    WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period AND chunk <> own + others;
  UPDATE budgets x SET limit_amount = x.limit_amount - own + chunk
    WHERE chunk <> own AND x.workspace_id = b.workspace_id AND x.id = b.id;
  RETURN chunk - own;
END
$$;

CREATE TYPE budget_key AS (level text, scope_id text, period text, rank smallint);

-- The levels that a spender counts against, leaf first: run, task and its ancestors, agent (for an API key: the key),
-- workspace, billing account, platform. The hottest row comes last, so it is locked shortest.
CREATE FUNCTION spender_levels(workspace text, spender text) RETURNS budget_key[]
  LANGUAGE plpgsql STABLE SET search_path = public, pg_temp
AS $$
DECLARE
  today text := spend_day();
  month text := left(today, 7);
  keys budget_key[] := '{}';
  t record;
  payer text;
BEGIN
  SELECT r.task_id AS id INTO t FROM runs r WHERE r.workspace_id = workspace AND r.id = spender;
  IF FOUND THEN
    SELECT x.id, x.parent_task_id, x.agent_id, x.depth INTO t FROM tasks x WHERE x.workspace_id = workspace AND x.id = t.id;
    keys := ARRAY[ROW('agent', t.agent_id, month, level_rank('agent'))::budget_key];
    WHILE t.id IS NOT NULL LOOP
      keys := array_append(keys, ROW('task', t.id, 'all', level_rank('task', t.depth))::budget_key);
      EXIT WHEN t.parent_task_id IS NULL;
      SELECT x.id, x.parent_task_id, x.agent_id, x.depth INTO t FROM tasks x WHERE x.workspace_id = workspace AND x.id = t.parent_task_id;
    END LOOP;
    -- The agent is that of the run's own task and stands behind all tasks.
    keys := ARRAY[ROW('run', spender, 'all', level_rank('run'))::budget_key] || keys[2:] || keys[1];
  ELSE
    PERFORM 1 FROM api_keys k WHERE k.workspace_id = workspace AND k.id = spender;
    IF FOUND THEN keys := ARRAY[ROW('key', spender, month, level_rank('key'))::budget_key]; END IF;
  END IF;
  keys := array_append(keys, ROW('workspace', workspace, month, level_rank('workspace'))::budget_key);
  SELECT w.billing_account_id INTO payer FROM workspaces w WHERE w.workspace_id = workspace;
  IF FOUND THEN keys := array_append(keys, ROW('owner', payer, month, level_rank('owner'))::budget_key); END IF;
  RETURN array_append(keys, ROW('platform', 'platform', today, level_rank('platform'))::budget_key);
END
$$;

-- The day that paths are for, UTC. Its first seven characters are the month.
CREATE FUNCTION spend_day() RETURNS text
  LANGUAGE sql VOLATILE
  RETURN to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD');

CREATE TYPE spent_level AS (workspace_id text, spender_id text, level text, scope_id text, period text, rank smallint);

-- Opens the balance rows of levels, which are given each once and in the order of locks, with the limits in force. A
-- task's limit is the task's own until it is changed; runs have none. The workspace's row of a top level starts with
-- nothing: it gets chunks of the shared row.
CREATE FUNCTION open_budgets(a_meter text, levels spent_level[]) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(limit_lock(CASE WHEN l.level IN ('owner', 'platform') THEN '' ELSE l.workspace_id END, a_meter, l.level, l.scope_id))
    FROM (SELECT * FROM unnest(levels) WITH ORDINALITY x(workspace_id, spender_id, level, scope_id, period, rank, n) WHERE x.level <> 'run' ORDER BY x.n) l;
  INSERT INTO top_budgets (level, scope_id, meter, period, limit_amount)
    SELECT l.level, l.scope_id, a_meter, l.period, t.amount
      FROM unnest(levels) WITH ORDINALITY l(workspace_id, spender_id, level, scope_id, period, rank, n)
        CROSS JOIN LATERAL (SELECT x.amount FROM top_limits x WHERE x.level = l.level AND x.scope_id = l.scope_id AND x.meter = a_meter ORDER BY x.version DESC LIMIT 1) t
      WHERE l.level IN ('owner', 'platform') AND t.amount IS NOT NULL ORDER BY l.n
    ON CONFLICT DO NOTHING;
  INSERT INTO budgets (workspace_id, meter, level, scope_id, period, rank, limit_version, limit_amount)
    SELECT l.workspace_id, a_meter, l.level, l.scope_id, l.period, l.rank, coalesce(o.version, t.version, 0),
        CASE WHEN l.level IN ('owner', 'platform') THEN CASE WHEN t.amount IS NOT NULL THEN 0 END
          WHEN o.version IS NULL AND l.level = 'task' THEN
            (SELECT CASE a_meter WHEN 'model_cost' THEN k.cost_limit_nano_usd ELSE k.agent_time_limit_ms END FROM tasks k WHERE k.workspace_id = l.workspace_id AND k.id = l.scope_id)
          ELSE o.amount END
      FROM unnest(levels) WITH ORDINALITY l(workspace_id, spender_id, level, scope_id, period, rank, n)
        LEFT JOIN LATERAL (SELECT x.amount, x.version FROM limits x
          WHERE l.level NOT IN ('run', 'owner', 'platform') AND x.workspace_id = l.workspace_id AND x.meter = a_meter AND x.level = l.level AND x.scope_id = l.scope_id ORDER BY x.version DESC LIMIT 1) o ON true
        LEFT JOIN LATERAL (SELECT x.amount, x.version FROM top_limits x
          WHERE l.level IN ('owner', 'platform') AND x.level = l.level AND x.scope_id = l.scope_id AND x.meter = a_meter ORDER BY x.version DESC LIMIT 1) t ON true
      ORDER BY l.n
    ON CONFLICT DO NOTHING;
END
$$;

-- Opens the balances that these spenders count against today, and keeps their ids. Called before any balance is locked:
-- rows of several spenders are opened in the order of locks, for who opens the same row waits, too.
CREATE FUNCTION open_paths(workspace_ids text[], spender_ids text[], a_meter text) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  levels spent_level[];
  missing spent_level[];
BEGIN
  SELECT array_agg(ROW(s.workspace_id, s.spender_id, v.level, v.scope_id, v.period, v.rank)::spent_level) INTO levels
    FROM (SELECT DISTINCT u.workspace_id, u.spender_id FROM unnest(workspace_ids, spender_ids) u(workspace_id, spender_id)) s
      CROSS JOIN LATERAL unnest(spender_levels(s.workspace_id, s.spender_id)) v;
  SELECT array_agg(ROW(l.workspace_id, NULL, l.level, l.scope_id, l.period, l.rank)::spent_level ORDER BY l.rank, l.workspace_id COLLATE "C", l.scope_id COLLATE "C") INTO missing
    FROM (SELECT DISTINCT x.workspace_id, x.level, x.scope_id, x.period, x.rank FROM unnest(levels) x) l
    WHERE NOT EXISTS (SELECT FROM budgets x WHERE x.workspace_id = l.workspace_id AND x.meter = a_meter AND x.level = l.level AND x.scope_id = l.scope_id AND x.period = l.period OFFSET 0);
  IF missing IS NOT NULL THEN PERFORM open_budgets(a_meter, missing); END IF;
  INSERT INTO spend_paths AS p (workspace_id, spender_id, meter, day, budget_ids)
    SELECT l.workspace_id, l.spender_id, a_meter, max(l.period) FILTER (WHERE l.level = 'platform'), array_agg(x.id ORDER BY l.rank)
      FROM unnest(levels) l CROSS JOIN LATERAL (SELECT y.id FROM budgets y
        WHERE y.workspace_id = l.workspace_id AND y.meter = a_meter AND y.level = l.level AND y.scope_id = l.scope_id AND y.period = l.period OFFSET 0) x
      GROUP BY l.workspace_id, l.spender_id ORDER BY l.workspace_id COLLATE "C", l.spender_id COLLATE "C"
    ON CONFLICT (workspace_id, spender_id, meter) DO UPDATE SET day = excluded.day, budget_ids = excluded.budget_ids WHERE p.day IS DISTINCT FROM excluded.day;
END
$$;

-- Locks balances, each once, in the order of locks. Rows are locked as they come out of the sort.
CREATE FUNCTION lock_budgets(workspace_ids text[], ids bigint[]) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM 1 FROM (SELECT DISTINCT u.workspace_id, u.id FROM unnest(workspace_ids, ids) u(workspace_id, id)) k
    JOIN budgets b ON b.workspace_id = k.workspace_id AND b.id = k.id ORDER BY b.rank, b.workspace_id, b.id FOR NO KEY UPDATE OF b;
END
$$;

-- Whether a shared limit was lowered below what it had handed out, so that no chunk may be used on.
CREATE FUNCTION is_overcommitted(b budgets) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = public, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM top_budgets t WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period AND t.granted > t.limit_amount);
END
$$;

-- The rows of these levels, which are locked by now, in the same order. Top levels that leave less than `needed` get a
-- chunk, and those that were lowered below what they had handed out give back what is unused.
CREATE FUNCTION see_levels(workspace text, ids bigint[], needed bigint) RETURNS budgets[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  seen budgets[];
  b budgets;
BEGIN
  SELECT array_agg(x ORDER BY u.n) INTO seen FROM unnest(ids) WITH ORDINALITY u(id, n) JOIN budgets x ON x.workspace_id = workspace AND x.id = u.id;
  IF cardinality(seen) IS DISTINCT FROM cardinality(ids) THEN
    RAISE EXCEPTION 'budget rows of % are missing', ids USING ERRCODE = 'GH002';
  END IF;
  FOR i IN 1 .. cardinality(seen) LOOP
    b := seen[i];
    IF b.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL AND (b.posted + b.held + needed > b.limit_amount OR is_overcommitted(b)) THEN
      b.limit_amount := b.limit_amount + grant_chunk(b, b.posted + b.held + needed - b.limit_amount);
      seen[i] := b;
    END IF;
  END LOOP;
  RETURN seen;
END
$$;

-- Which level refuses `needed`: rather one that no returning hold can help, then the one that leaves least, then the
-- one nearest to the leaf. For a top level what counts is the shared limit less what all its workspaces have spent,
-- but only this workspace's own figures are told.
CREATE FUNCTION refusal(seen budgets[], needed bigint) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  SELECT jsonb_build_object('status', CASE WHEN l.without_holds >= refusal.needed THEN 'reserved' ELSE 'exhausted' END, 'level', l.level, 'scope_id', l.scope_id,
      'period', l.period, 'limit', l.limit_amount, 'posted', l.posted, 'held', l.held, 'needed', refusal.needed)
    FROM (
      SELECT u.*, CASE WHEN u.level IN ('owner', 'platform') THEN
          (SELECT t.limit_amount FROM top_budgets t WHERE t.level = u.level AND t.scope_id = u.scope_id AND t.meter = u.meter AND t.period = u.period)
          - (SELECT sum(x.posted) FROM budgets x WHERE x.level = u.level AND x.scope_id = u.scope_id AND x.meter = u.meter AND x.period = u.period AND x.level IN ('owner', 'platform'))
        ELSE u.limit_amount - u.posted END AS without_holds
      FROM unnest(seen) u
      WHERE u.limit_amount - u.posted - u.held < refusal.needed
    ) l
    ORDER BY (l.without_holds >= refusal.needed), l.limit_amount - l.posted - l.held, l.rank LIMIT 1
$$;
