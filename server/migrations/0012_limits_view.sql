-- Calls have limits with versions, too. The number in force stays in the task's own row, where admissions read it.
ALTER TABLE limits DROP CONSTRAINT limits_meter_check;
ALTER TABLE limits ADD CONSTRAINT limits_meter_check
  CHECK (meter IN ('model_cost', 'agent_time', 'concurrent_tasks', 'api_requests', 'members', 'model_calls', 'tool_calls'));

-- What open holds keep from one level; at a top level those of all workspaces that share it.
CREATE FUNCTION budget_held(workspace text, a_meter text, k budget_key) RETURNS bigint
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  SELECT coalesce(CASE WHEN k.level IN ('owner', 'platform')
    THEN (SELECT sum(b.held)::bigint FROM budgets b
      WHERE b.level = k.level AND b.scope_id = k.scope_id AND b.meter = a_meter AND b.period = k.period AND b.level IN ('owner', 'platform'))
    ELSE (SELECT b.held FROM budgets b
      WHERE b.workspace_id = workspace AND b.meter = a_meter AND b.level = k.level AND b.scope_id = k.scope_id AND b.period = k.period) END, 0)
$$;

-- Asks every level that `needed` would count against, without locking or holding anything: what an admission would
-- say now. Of an open task, else of an API key, else of a new task of the agent, else of the workspace. Levels without
-- a limit are left out. Of a top level only the verdict is told, for its figures are those of other workspaces, too.
CREATE FUNCTION check_limits(a_meter text, a_task text, a_key text, an_agent text, needed bigint)
  RETURNS TABLE (level text, scope_id text, period text, outcome text, room bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  spender text;
  keys budget_key[];
  k budget_key;
BEGIN
  IF a_task IS NOT NULL THEN
    SELECT r.id INTO spender FROM runs r WHERE r.workspace_id = workspace AND r.task_id = a_task ORDER BY r.state = 'ended', r.id DESC LIMIT 1;
  ELSIF a_key IS NOT NULL THEN
    SELECT x.id INTO spender FROM api_keys x WHERE x.workspace_id = workspace AND x.id = a_key;
  END IF;
  keys := spender_levels(workspace, coalesce(spender, ''));
  IF spender IS NULL AND an_agent IS NOT NULL THEN
    -- An unknown spender has the levels of the workspace only: that of a new task's agent comes before them.
    keys := ROW('agent', an_agent, to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM'), level_rank('agent'))::budget_key || keys;
  END IF;
  FOREACH k IN ARRAY keys LOOP
    room := budget_room(workspace, a_meter, k);
    CONTINUE WHEN room IS NULL;
    level := k.level; scope_id := k.scope_id; period := k.period;
    outcome := CASE WHEN room >= needed THEN 'fits' WHEN room + budget_held(workspace, a_meter, k) >= needed THEN 'reserved' ELSE 'exhausted' END;
    IF k.level IN ('owner', 'platform') THEN room := NULL; END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

-- Names of the people who changed limits of the workspace, also of those who have left it.
CREATE FUNCTION limit_actor_names() RETURNS TABLE (actor text, name text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  SELECT DISTINCT l.changed_by, u.name FROM limits l JOIN users u ON l.changed_by = 'user:' || u.id WHERE l.workspace_id = current_workspace()
$$;
GRANT SELECT (id, name) ON users TO guildhall_definer;

-- Wakes runs that were paused because their model had no price, once their agent's model is one of `priced`. A gateway
-- may know fewer prices than the caller while releases change: so a run rests before it is tried again.
CREATE FUNCTION wake_unpriced_runs(priced text[], rest interval) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  c record;
  woken int := 0;
BEGIN
  FOR c IN
    SELECT r.workspace_id, r.task_id FROM next_paused('unpriced', '{}') p
      CROSS JOIN LATERAL (SELECT * FROM tasks y WHERE y.workspace_id = p.workspace_id AND y.id = p.task_id AND y.state = 'paused' OFFSET 0) t
      CROSS JOIN LATERAL (SELECT * FROM agents y WHERE y.workspace_id = p.workspace_id AND y.id = t.agent_id AND y.model = ANY (priced) OFFSET 0) a
      CROSS JOIN LATERAL (SELECT y.workspace_id, y.id, y.task_id, y.epoch FROM runs y WHERE y.workspace_id = p.workspace_id AND y.task_id = p.task_id AND y.state = 'parked' FOR UPDATE SKIP LOCKED) r
      CROSS JOIN LATERAL (SELECT * FROM attempts y WHERE y.workspace_id = p.workspace_id AND y.run_id = r.id AND y.epoch = r.epoch OFFSET 0) e
      WHERE a.model <> t.parked->>'model' OR e.ended_at < clock_now() - rest
  LOOP
    IF wake_run(c.workspace_id, c.task_id) THEN woken := woken + 1; END IF;
  END LOOP;
  RETURN woken;
END
$$;

REVOKE EXECUTE ON FUNCTION budget_held(text, text, budget_key) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION budget_held(text, text, budget_key) TO guildhall_definer;
CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION check_limits(text, text, text, text, bigint), limit_actor_names() TO guildhall_app;
GRANT EXECUTE ON FUNCTION wake_unpriced_runs(text[], interval) TO guildhall_ledger;
