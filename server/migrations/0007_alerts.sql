-- Alerts about limits, the demand that limits refused, what each workspace costs and brings in, and suspension.

-- One row per limit version, period and threshold that was crossed; the key is what makes an alert come once. `seq` is
-- its number in the workspace's stream. kind 'used': percent of the limit that is spent; 'demand': spent, held,
-- refused and waiting together. For the billing account figures stay NULL: they would tell of other workspaces.
CREATE TABLE limit_alerts (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL,
  level text NOT NULL CHECK (level IN ('task', 'agent', 'key', 'workspace', 'owner')),
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  limit_version int NOT NULL,
  kind text NOT NULL CHECK (kind IN ('used', 'demand')),
  percent int NOT NULL,
  seq bigint NOT NULL,
  limit_amount bigint,
  amount bigint,
  at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, meter, level, scope_id, period, limit_version, kind, percent)
);
CREATE UNIQUE INDEX limit_alerts_seq ON limit_alerts (workspace_id, seq);
CALL make_tenant_table('limit_alerts', 'SELECT', 'SELECT, INSERT');

-- How far each member has read.
CREATE TABLE alert_reads (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  user_id text COLLATE "C" NOT NULL REFERENCES users,
  read_through bigint NOT NULL,
  PRIMARY KEY (workspace_id, user_id)
);
CALL make_tenant_table('alert_reads', 'SELECT, INSERT, UPDATE');

-- The same for the limits above all workspaces, for the operator.
CREATE TABLE top_alerts (
  level text NOT NULL CHECK (level IN ('owner', 'platform')),
  scope_id text COLLATE "C" NOT NULL,
  meter text NOT NULL,
  period text COLLATE "C" NOT NULL,
  limit_version int NOT NULL,
  kind text NOT NULL CHECK (kind IN ('used', 'demand')),
  percent int NOT NULL,
  limit_amount bigint NOT NULL,
  amount bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (level, scope_id, meter, period, limit_version, kind, percent)
);
GRANT SELECT, INSERT ON top_alerts TO guildhall_definer;
GRANT SELECT ON top_alerts TO guildhall_platform;

-- The most that each spender (a run or an API key) needed when a limit refused it. Once per spender, so that asking again
-- and again is no more demand.
CREATE TABLE refused_demand (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL,
  level text NOT NULL,
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  limit_version int NOT NULL,
  spender_id text COLLATE "C" NOT NULL,
  needed bigint NOT NULL CHECK (needed > 0),
  refused_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, meter, level, scope_id, period, limit_version, spender_id)
);
CREATE INDEX refused_demand_period ON refused_demand (period);
CALL make_tenant_table('refused_demand', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE');

-- Where the look over all limited balances stands. Its row is locked while one process looks; others pass.
CREATE TABLE alert_sweep (
  id boolean PRIMARY KEY DEFAULT true CHECK (id),
  after_key text[] NOT NULL DEFAULT '{}',
  looked_at timestamptz NOT NULL DEFAULT clock_now()
);
INSERT INTO alert_sweep DEFAULT VALUES;
GRANT SELECT, UPDATE ON alert_sweep TO guildhall_definer;

-- None of their columns changes when something is spent, so spending writes to neither.
CREATE INDEX budgets_limited ON budgets (period, workspace_id, meter, level, scope_id)
  WHERE level IN ('agent', 'key', 'workspace') AND limit_amount IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE POLICY seats_counted ON memberships FOR SELECT TO guildhall_definer USING (true);
GRANT SELECT ON memberships TO guildhall_definer;
-- Suspending a workspace writes its audit line in the same transaction.
CREATE POLICY suspensions_written ON audit_heads TO guildhall_definer USING (true) WITH CHECK (true);
CREATE POLICY suspensions_written ON audit_lines TO guildhall_definer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON audit_heads TO guildhall_definer;
GRANT SELECT, INSERT ON audit_lines TO guildhall_definer;

-- What a workspace costs the operator in a month and what it brings in; nano-USD. The operator's figures: tenants do not
-- see them. `allowed` is the cost from which on the margin guard pauses, NULL without a guard. `paused_held` is what was
-- held when it paused. `overrun_before` is the overrun account's balance when the month began.
CREATE TABLE workspace_margins (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  period text COLLATE "C" NOT NULL,
  plan text NOT NULL,
  revenue bigint NOT NULL,
  model_cost bigint NOT NULL,
  held bigint NOT NULL,
  agent_time_ms bigint NOT NULL,
  agent_cost bigint NOT NULL,
  storage_bytes bigint NOT NULL,
  storage_mib_s bigint NOT NULL,
  storage_cost bigint NOT NULL,
  overrun_before bigint NOT NULL,
  allowed bigint,
  paused_held bigint,
  measured_at timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, period)
);
CALL make_tenant_table('workspace_margins', 'SELECT', '', 'SELECT, INSERT, UPDATE');
REVOKE ALL ON workspace_margins FROM guildhall_app;

-- The thresholds that these figures have reached. The last unit of a limit may be too small for any call: a limit that
-- has refused is reached, whatever is left of it. Where several thresholds fall on one count (one slot), the highest stands
-- for all. Without settings of its own, so that the planner puts its text in place: a call would take a millisecond for
-- each balance beyond half.
CREATE FUNCTION crossed_thresholds(limit_amount bigint, used bigint, demand bigint, refused boolean)
  RETURNS TABLE (kind text, percent int, amount bigint)
  LANGUAGE sql IMMUTABLE
AS $$
  SELECT 'used', t.percent, used FROM (VALUES (50), (80), (100)) t(percent)
    WHERE ((used > 0 AND used::numeric * 100 >= limit_amount::numeric * t.percent) OR (t.percent = 100 AND refused))
      AND NOT EXISTS (SELECT FROM (VALUES (50), (80), (100)) higher(percent)
        WHERE higher.percent > t.percent AND ceil(limit_amount::numeric * higher.percent / 100) = ceil(limit_amount::numeric * t.percent / 100))
  UNION ALL
  SELECT 'demand', 200, demand WHERE demand > used AND demand::numeric >= limit_amount::numeric * 2
$$;

-- Raises one alert unless it was raised before: its row, its event in the workspace's stream and its outbox row. The
-- stream's row makes those wait for each other who find the same. -> whether it was raised
CREATE FUNCTION raise_limit_alert(alert limit_alerts) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  facts jsonb := jsonb_build_object('meter', alert.meter, 'level', alert.level, 'scope_id', alert.scope_id, 'period', alert.period,
    'limit_version', alert.limit_version, 'kind', alert.kind, 'percent', alert.percent, 'limit', alert.limit_amount, 'amount', alert.amount);
  next_seq bigint;
BEGIN
  INSERT INTO streams (workspace_id, id) VALUES (alert.workspace_id, alert.workspace_id) ON CONFLICT DO NOTHING;
  PERFORM 1 FROM streams s WHERE s.workspace_id = alert.workspace_id AND s.id = alert.workspace_id FOR UPDATE;
  PERFORM 1 FROM limit_alerts a WHERE a.workspace_id = alert.workspace_id AND a.meter = alert.meter AND a.level = alert.level AND a.scope_id = alert.scope_id
    AND a.period = alert.period AND a.limit_version = alert.limit_version AND a.kind = alert.kind AND a.percent = alert.percent;
  IF FOUND THEN RETURN false; END IF;
  next_seq := append_event(alert.workspace_id, alert.workspace_id, 'limit.alert', facts);
  INSERT INTO limit_alerts (workspace_id, meter, level, scope_id, period, limit_version, kind, percent, seq, limit_amount, amount)
    VALUES (alert.workspace_id, alert.meter, alert.level, alert.scope_id, alert.period, alert.limit_version, alert.kind, alert.percent, next_seq, alert.limit_amount, alert.amount);
  INSERT INTO outbox (workspace_id, topic, payload) VALUES (alert.workspace_id, 'limit.alert', facts || jsonb_build_object('seq', next_seq));
  RETURN true;
END
$$;

-- Alerts of the billing accounts' and the installation's limits: one row for the operator, and for a billing account an
-- alert without figures in each of its workspaces. -> those that are new
CREATE FUNCTION raise_top_alerts() RETURNS jsonb
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  c top_alerts;
  w text;
  alert limit_alerts;
  raised jsonb := '[]';
  moment timestamp := clock_now() AT TIME ZONE 'UTC';
  -- As in raise_alerts.
  since timestamp := moment - interval '15 minutes';
BEGIN
  FOR c IN
    SELECT t.level, t.scope_id, t.meter, t.period, t.version, x.kind, x.percent, t.limit_amount, x.amount, clock_now() FROM (
      SELECT t.*, u.version, u.posted, u.held FROM top_budgets t,
        LATERAL (SELECT max(b.limit_version) AS version, coalesce(sum(b.posted), 0)::bigint AS posted, coalesce(sum(b.held), 0)::bigint AS held FROM budgets b
          WHERE b.level = t.level AND b.scope_id = t.scope_id AND b.meter = t.meter AND b.period = t.period AND b.level IN ('owner', 'platform')
          -- The shared row of a limit that was taken away stays, for it may come back.
          HAVING bool_or(b.limit_amount IS NOT NULL)) u
        WHERE t.period IN (to_char(moment, 'YYYY-MM'), to_char(moment, 'YYYY-MM-DD'), to_char(since, 'YYYY-MM'), to_char(since, 'YYYY-MM-DD'))
    ) t
    LEFT JOIN (SELECT d.level, d.scope_id, d.meter, d.period, d.limit_version AS version, sum(d.needed)::bigint AS needed FROM refused_demand d
      WHERE d.level IN ('owner', 'platform') GROUP BY 1, 2, 3, 4, 5) r USING (level, scope_id, meter, period, version)
    CROSS JOIN LATERAL crossed_thresholds(t.limit_amount, t.posted, t.posted + t.held + coalesce(r.needed, 0), r.needed IS NOT NULL) x
    WHERE NOT EXISTS (SELECT FROM top_alerts a WHERE a.level = t.level AND a.scope_id = t.scope_id AND a.meter = t.meter AND a.period = t.period
      AND a.limit_version = t.version AND a.kind = x.kind AND a.percent = x.percent)
  LOOP
    INSERT INTO top_alerts SELECT c.* ON CONFLICT DO NOTHING;
    CONTINUE WHEN NOT FOUND;
    raised := raised || to_jsonb(c);
    CONTINUE WHEN c.level <> 'owner';
    FOR w IN SELECT x.workspace_id FROM workspaces x WHERE x.billing_account_id = c.scope_id ORDER BY x.workspace_id LOOP
      alert := ROW(w, c.meter, 'owner', c.scope_id, c.period, c.limit_version, c.kind, c.percent, NULL, NULL, NULL, NULL)::limit_alerts;
      PERFORM raise_limit_alert(alert);
    END LOOP;
  END LOOP;
  RETURN raised;
END
$$;

-- Looks at the limited balances and raises what they have reached: up to `at_most` balances of agents, keys and workspaces per
-- look (the next look goes on where this one ended), those of the tasks that are under way or ended since the last look,
-- slots, and the limits above the workspaces. Members, stored files and API requests change slowly beside their limits: only
-- `with_counts`. `storage_quota` is the installation's, for whom nothing else was agreed; NULL is none. At most 200 alerts at a
-- time, so that a look ends within the statement timeout; the next ones come with the next look.
-- -> how many alerts were raised, and those of the operator; no row while another process looks.
CREATE FUNCTION raise_alerts(at_most int, with_counts boolean, storage_quota bigint) RETURNS TABLE (raised int, top jsonb)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  sweep alert_sweep;
  moment timestamptz := clock_now();
  this_month text := to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM');
  -- What was admitted before the month turned is booked in the old one for as long as a call may last.
  since text := to_char((moment - interval '15 minutes') AT TIME ZONE 'UTC', 'YYYY-MM');
  this_minute int := floor(extract(epoch FROM moment) / 60);
  k text[];
  upto text[];
  alert limit_alerts;
  found_now int := 0;
BEGIN
  SELECT * INTO sweep FROM alert_sweep FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN; END IF;
  k := CASE WHEN cardinality(sweep.after_key) = 5 THEN sweep.after_key ELSE ARRAY['', '', '', '', ''] END;
  SELECT ARRAY[b.period, b.workspace_id, b.meter, b.level, b.scope_id] INTO upto FROM budgets b
    WHERE b.level IN ('agent', 'key', 'workspace') AND b.limit_amount IS NOT NULL AND b.period BETWEEN since AND this_month
      AND (b.period, b.workspace_id, b.meter, b.level, b.scope_id) > (k[1], k[2], k[3], k[4], k[5])
    ORDER BY b.period, b.workspace_id, b.meter, b.level, b.scope_id OFFSET at_most - 1 LIMIT 1;
  raised := 0;
  FOR alert IN
    WITH balances AS (
      SELECT b.workspace_id, b.meter, b.level, b.scope_id, b.period, b.limit_version, b.limit_amount, b.posted, b.held FROM budgets b
        WHERE b.level IN ('agent', 'key', 'workspace') AND b.limit_amount IS NOT NULL AND b.period BETWEEN since AND this_month
          AND (b.period, b.workspace_id, b.meter, b.level, b.scope_id) > (k[1], k[2], k[3], k[4], k[5])
          AND (upto IS NULL OR (b.period, b.workspace_id, b.meter, b.level, b.scope_id) <= (upto[1], upto[2], upto[3], upto[4], upto[5]))
      UNION ALL
      SELECT b.workspace_id, b.meter, b.level, b.scope_id, b.period, b.limit_version, b.limit_amount, b.posted, b.held
        -- Those that have not ended, each kind by an index that it has anyway: the history of runs only grows.
        FROM (SELECT r.workspace_id, r.task_id FROM runs r WHERE r.slot_no IS NOT NULL
          UNION SELECT r.workspace_id, r.task_id FROM runs r WHERE r.state = 'queued'
          UNION SELECT t.workspace_id, t.id FROM tasks t WHERE t.parked IS NOT NULL
          UNION SELECT t.workspace_id, t.id FROM tasks t WHERE t.ended_at > sweep.looked_at - interval '15 seconds') t
        CROSS JOIN (VALUES ('model_cost'), ('agent_time')) m(meter)
        JOIN budgets b ON b.workspace_id = t.workspace_id AND b.meter = m.meter AND b.level = 'task' AND b.scope_id = t.task_id AND b.period = 'all'
        WHERE b.limit_amount IS NOT NULL
      UNION ALL
      SELECT s.workspace_id, 'concurrent_tasks', 'workspace', s.workspace_id, this_month, l.version, l.amount, s.used, s.waiting
        FROM (SELECT r.workspace_id, count(r.slot_no) AS used, count(*) FILTER (WHERE r.state = 'queued') AS waiting FROM runs r
          WHERE r.slot_no IS NOT NULL OR r.state = 'queued' GROUP BY r.workspace_id) s,
        LATERAL (SELECT x.version, x.amount FROM limits x WHERE x.workspace_id = s.workspace_id AND x.meter = 'concurrent_tasks' AND x.level = 'workspace'
          AND x.scope_id = s.workspace_id ORDER BY x.version DESC LIMIT 1) l
        WHERE l.amount IS NOT NULL
      UNION ALL
      -- API requests by the hour in which they were counted. A minute that is over counts as leased, for who died told
      -- nothing more; the last two as far as nodes have told. A window that reaches into the next hour tells nothing twice.
      -- Where all were refused nothing was leased.
      SELECT s.workspace_id, 'api_requests', 'workspace', s.workspace_id, to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), l.version, l.amount, s.used, s.leased - s.used
        FROM (SELECT r.workspace_id, sum(r.granted)::bigint AS leased, sum(CASE WHEN r.minute < this_minute - 1 THEN r.granted ELSE r.spent END)::bigint AS used
          FROM (SELECT l.workspace_id, l.minute, l.granted, l.spent FROM request_leases l
            UNION ALL SELECT q.workspace_id, q.minute, 0, 0 FROM refused_requests q) r WHERE with_counts AND r.minute >= this_minute - 60 GROUP BY r.workspace_id) s,
        LATERAL (SELECT x.version, x.amount FROM limits x WHERE x.workspace_id = s.workspace_id AND x.meter = 'api_requests' AND x.level = 'workspace'
          AND x.scope_id = s.workspace_id ORDER BY x.version DESC LIMIT 1) l
        WHERE l.amount IS NOT NULL
      UNION ALL
      SELECT s.workspace_id, 'members', 'workspace', s.workspace_id, this_month, l.version, l.amount, s.used, 0
        FROM (SELECT m.workspace_id, count(*) AS used FROM memberships m WHERE with_counts GROUP BY m.workspace_id) s,
        LATERAL (SELECT x.version, x.amount FROM limits x WHERE x.workspace_id = s.workspace_id AND x.meter = 'members' AND x.level = 'workspace'
          AND x.scope_id = s.workspace_id ORDER BY x.version DESC LIMIT 1) l
        WHERE l.amount IS NOT NULL
      UNION ALL
      SELECT s.workspace_id, 'storage_bytes', 'workspace', s.workspace_id, this_month, l.version, l.amount, s.used_bytes, 0
        FROM workspace_storage s LEFT JOIN LATERAL (SELECT x.version, x.is_own, x.quota_bytes FROM storage_agreements x
          WHERE x.workspace_id = s.workspace_id ORDER BY x.version DESC LIMIT 1) a ON true,
        LATERAL (SELECT coalesce(a.version, 0) AS version, CASE WHEN a.is_own THEN a.quota_bytes ELSE storage_quota END AS amount) l
        WHERE with_counts AND l.amount IS NOT NULL
    ), refused AS (
      SELECT d.workspace_id, d.meter, d.level, d.scope_id, d.period, d.limit_version, sum(d.needed)::bigint AS needed FROM refused_demand d
        WHERE d.period BETWEEN since AND this_month OR d.period = 'all' GROUP BY 1, 2, 3, 4, 5, 6
      UNION ALL
      SELECT q.workspace_id, 'api_requests', 'workspace', q.workspace_id, to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), q.limit_version, sum(q.refused)::bigint
        FROM refused_requests q WHERE with_counts AND q.minute >= this_minute - 60 GROUP BY q.workspace_id, q.limit_version
    )
    SELECT b.workspace_id, b.meter, b.level, b.scope_id, b.period, b.limit_version, x.kind, x.percent, 0, b.limit_amount, x.amount, NULL
      FROM balances b LEFT JOIN refused r USING (workspace_id, meter, level, scope_id, period, limit_version)
      CROSS JOIN LATERAL crossed_thresholds(b.limit_amount, b.posted, b.posted + b.held + coalesce(r.needed, 0), r.needed IS NOT NULL) x
      WHERE (b.posted >= b.limit_amount / 2 OR r.needed IS NOT NULL OR b.meter = 'concurrent_tasks')
        AND NOT EXISTS (SELECT FROM limit_alerts a WHERE a.workspace_id = b.workspace_id AND a.meter = b.meter AND a.level = b.level AND a.scope_id = b.scope_id
          AND (a.period = b.period OR b.meter = 'api_requests' AND a.at > moment - interval '1 hour')
          AND a.limit_version = b.limit_version AND a.kind = x.kind AND a.percent = x.percent)
      ORDER BY b.workspace_id, b.meter, b.level, b.scope_id, x.percent LIMIT 200
  LOOP
    found_now := found_now + 1;
    IF raise_limit_alert(alert) THEN raised := raised + 1; END IF;
  END LOOP;
  top := raise_top_alerts();
  IF with_counts THEN
    DELETE FROM refused_demand d WHERE d.refused_at < moment - interval '62 days';
    DELETE FROM refused_requests q WHERE q.minute < this_minute - 120;
    -- Of workspaces that lease nothing any more; the others do it themselves.
    DELETE FROM request_leases l WHERE l.minute < this_minute - 180;
  END IF;
  -- There may be more of the same: the next look begins where this one did, or tasks that ended would be passed over.
  UPDATE alert_sweep SET after_key = coalesce(upto, '{}'), looked_at = moment WHERE found_now < 200;
  RETURN NEXT;
END
$$;

-- Notes what a limit refused to a run or an API key, under the version that refused. A repetition that needs no more writes nothing.
CREATE FUNCTION note_refused_demand(workspace text, a_meter text, a_level text, scope text, a_period text, spender text, amount bigint) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  INSERT INTO refused_demand AS d (workspace_id, meter, level, scope_id, period, limit_version, spender_id, needed)
    SELECT b.workspace_id, b.meter, b.level, b.scope_id, b.period, b.limit_version, spender, amount FROM budgets b
      WHERE b.workspace_id = workspace AND b.meter = a_meter AND b.level = a_level AND b.scope_id = scope AND b.period = a_period AND amount > 0
    ON CONFLICT (workspace_id, meter, level, scope_id, period, limit_version, spender_id)
      DO UPDATE SET needed = excluded.needed, refused_at = excluded.refused_at WHERE excluded.needed > d.needed
$$;

-- Suspends a workspace (a reason code) or lets it go on (NULL), with audit line, event and outbox row. The guard never
-- takes over what the operator has suspended, nor lifts it. -> whether anything changed
CREATE FUNCTION set_suspended(workspace text, reason text, actor text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  before text;
  speaks_for text := coalesce(current_setting('app.workspace_id', true), '');
  event_type text := CASE WHEN reason IS NULL THEN 'workspace.resumed' ELSE 'workspace.suspended' END;
  facts jsonb;
BEGIN
  SELECT w.suspended INTO before FROM workspaces w WHERE w.workspace_id = workspace FOR NO KEY UPDATE;
  IF NOT FOUND OR before IS NOT DISTINCT FROM reason OR (actor = 'system:margin_guard' AND before <> 'margin_guard') THEN RETURN false; END IF;
  facts := jsonb_build_object('reason', coalesce(reason, before));
  UPDATE workspaces w SET suspended = reason WHERE w.workspace_id = workspace;
  PERFORM append_event(workspace, workspace, event_type, facts);
  INSERT INTO outbox (workspace_id, topic, payload) VALUES (workspace, event_type, facts);
  PERFORM set_config('app.workspace_id', workspace, true);
  PERFORM append_audit(actor, event_type, workspace, 'local',
    encode(sha256(convert_to(to_json(before)::text, 'UTF8')), 'hex'), encode(sha256(convert_to(to_json(reason)::text, 'UTF8')), 'hex'));
  PERFORM set_config('app.workspace_id', speaks_for, true);
  RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION crossed_thresholds(bigint, bigint, bigint, boolean), raise_limit_alert(limit_alerts), raise_top_alerts() FROM PUBLIC;
CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION crossed_thresholds(bigint, bigint, bigint, boolean), raise_limit_alert(limit_alerts), raise_top_alerts(),
  append_audit(text, text, text, text, text, text), audit_hash(text, bigint, timestamptz, text, text, text, text, text, text) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION raise_alerts(int, boolean, bigint), note_refused_demand(text, text, text, text, text, text, bigint) TO guildhall_ledger;
GRANT EXECUTE ON FUNCTION set_suspended(text, text, text) TO guildhall_platform;
