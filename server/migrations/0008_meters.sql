-- Meters beside money and time (API requests, members, socket time), and the terms that a workspace's limits follow from.

-- API requests: what nodes were given to spend, by the minute of the database's clock in which they may spend it.
-- The rule is that of server/ledger/request-window.ts: all that was given in this minute and the 60 before it is at most
-- the limit. A request is made in its lease's own minute, so no 60 minutes ever see more.
CREATE TABLE request_leases (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  -- Minutes since 1970.
  minute int NOT NULL,
  node_id text COLLATE "C" NOT NULL,
  granted bigint NOT NULL CHECK (granted >= 0),
  -- What the node said it has spent of it. Whoever dies says nothing more, so what was granted counts.
  spent bigint NOT NULL CHECK (spent BETWEEN 0 AND granted),
  -- Calls of a node are numbered, so that one which was given up and arrives late changes nothing.
  call_no bigint NOT NULL,
  PRIMARY KEY (workspace_id, minute, node_id)
);
CALL make_tenant_table('request_leases', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE');

-- API requests that were refused, by the minute in which the refusal was said and the version of the limit that said it:
-- the demand beside what was leased. Nodes count in memory and tell from time to time, all of a minute again and again.
CREATE TABLE refused_requests (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  minute int NOT NULL,
  limit_version int NOT NULL,
  node_id text COLLATE "C" NOT NULL,
  refused bigint NOT NULL CHECK (refused > 0),
  PRIMARY KEY (workspace_id, minute, limit_version, node_id)
);
CALL make_tenant_table('refused_requests', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE');

-- noted: [{workspace_id, minute, limit_version, refused}], each of them all that the node has refused there. So what is
-- told twice counts once.
CREATE FUNCTION note_refused_requests(node text, noted jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  INSERT INTO refused_requests AS r (workspace_id, minute, limit_version, node_id, refused)
    SELECT n.workspace_id, n.minute, n.limit_version, node, n.refused
      FROM jsonb_to_recordset(noted) AS n(workspace_id text, minute int, limit_version int, refused bigint)
      WHERE EXISTS (SELECT FROM limits l WHERE l.workspace_id = n.workspace_id AND l.meter = 'api_requests' AND l.level = 'workspace'
        AND l.scope_id = n.workspace_id AND l.version = n.limit_version)
    ON CONFLICT (workspace_id, minute, limit_version, node_id) DO UPDATE SET refused = greatest(r.refused, excluded.refused)
$$;

-- Takes a node's word for what it spent of its leases (it spends no more of them), and leases it so many more that the
-- `wish` of those who wait is met and a round trip serves several: 1/20 of the limit over all nodes, less when little is
-- left. A wish of 0 only reports.
-- reports: [{minute, spent}] as far as not told before; of a lease that is not named nothing more was spent.
-- -> {status: 'granted', minute, granted, valid_ms, limit, left, resets_ms}   limit and left are null without a limit
--  | {status: 'exhausted', minute, limit, limit_version, retry_after_ms}
--  | {status: 'reported', minute} | {status: 'stale'}
CREATE FUNCTION lease_requests(workspace text, node text, a_call_no bigint, reports jsonb, wish bigint) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  now_ms bigint;
  this_minute int;
  quota bigint;
  quota_version int;
  given bigint;
  nodes bigint;
  first_minute int;
  block bigint;
  rest bigint;
BEGIN
  IF NOT coalesce(wish BETWEEN 0 AND 1000000, false) THEN
    RAISE EXCEPTION 'lease_requests: impossible wish %', wish USING ERRCODE = 'GH002';
  END IF;
  -- The lock of the limit: leases of a workspace are given one at a time, and never while its limit changes.
  PERFORM pg_advisory_xact_lock(limit_lock(workspace, 'api_requests', 'workspace', workspace));
  now_ms := floor(extract(epoch FROM clock_now()) * 1000);
  this_minute := now_ms / 60000;
  IF EXISTS (SELECT FROM request_leases l WHERE l.workspace_id = workspace AND l.node_id = node AND l.call_no >= a_call_no) THEN
    RETURN '{"status":"stale"}';
  END IF;
  DELETE FROM request_leases l WHERE l.workspace_id = workspace AND l.minute < this_minute - 120;
  UPDATE request_leases l SET granted = x.spent, spent = x.spent, call_no = a_call_no
    FROM (SELECT o.minute, least(o.granted, coalesce(r.spent, o.spent)) AS spent FROM request_leases o
      LEFT JOIN jsonb_to_recordset(reports) AS r(minute int, spent bigint) ON r.minute = o.minute
      WHERE o.workspace_id = workspace AND o.node_id = node) x
    WHERE l.workspace_id = workspace AND l.node_id = node AND l.minute = x.minute AND (l.granted <> x.spent OR l.spent <> x.spent);
  IF wish = 0 THEN RETURN jsonb_build_object('status', 'reported', 'minute', this_minute); END IF;

  SELECT l.amount, l.version INTO quota, quota_version FROM limits l
    WHERE l.workspace_id = workspace AND l.meter = 'api_requests' AND l.level = 'workspace' AND l.scope_id = workspace ORDER BY l.version DESC LIMIT 1;
  -- No upper end: should the clock be set back, minutes that seem to come count too.
  SELECT coalesce(sum(l.granted), 0), count(DISTINCT l.node_id) FILTER (WHERE l.minute > this_minute - 5 AND l.node_id <> node) + 1, min(l.minute) FILTER (WHERE l.granted > 0)
    INTO given, nodes, first_minute FROM request_leases l WHERE l.workspace_id = workspace AND l.minute >= this_minute - 60;
  rest := quota - given;
  IF rest <= 0 THEN
    -- When so much has aged out that one more fits.
    SELECT min(x.minute) INTO first_minute FROM (SELECT l.minute, sum(l.granted) OVER (ORDER BY l.minute) AS aged
      FROM request_leases l WHERE l.workspace_id = workspace AND l.minute >= this_minute - 60) x WHERE given - x.aged < quota;
    RETURN jsonb_build_object('status', 'exhausted', 'minute', this_minute, 'limit', quota, 'limit_version', quota_version, 'retry_after_ms', coalesce((first_minute + 61)::bigint * 60000 - now_ms, 3600000));
  END IF;
  block := greatest(1, CASE WHEN quota IS NULL THEN 50 ELSE least(quota / (20 * nodes), rest / (2 * nodes)) END);
  block := least(greatest(block, wish), rest);
  INSERT INTO request_leases AS l (workspace_id, minute, node_id, granted, spent, call_no) VALUES (workspace, this_minute, node, block, 0, a_call_no)
    ON CONFLICT (workspace_id, minute, node_id) DO UPDATE SET granted = l.granted + block, call_no = a_call_no;
  RETURN jsonb_build_object('status', 'granted', 'minute', this_minute, 'granted', block, 'valid_ms', (this_minute + 1)::bigint * 60000 - now_ms,
    'limit', quota, 'left', rest - block, 'resets_ms', (coalesce(first_minute, this_minute) + 61)::bigint * 60000 - now_ms);
END
$$;

-- Makes somebody a member of the transaction's workspace: the one way that a membership comes to be. Seats are counted
-- under the lock of their limit, so of many who join at once exactly as many as there are seats get in. A limit that was
-- lowered below the present number refuses new ones and keeps the old.
-- -> {status: 'added', members, limit} | {status: 'member', role} | {status: 'exhausted', members, limit}
CREATE FUNCTION add_member(a_user text, a_role text) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  present_role text;
  seats bigint;
  present bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(limit_lock(workspace, 'members', 'workspace', workspace));
  SELECT m.role INTO present_role FROM memberships m WHERE m.workspace_id = workspace AND m.user_id = a_user;
  IF FOUND THEN RETURN jsonb_build_object('status', 'member', 'role', present_role); END IF;
  SELECT l.amount INTO seats FROM limits l
    WHERE l.workspace_id = workspace AND l.meter = 'members' AND l.level = 'workspace' AND l.scope_id = workspace ORDER BY l.version DESC LIMIT 1;
  SELECT count(*) INTO present FROM memberships m WHERE m.workspace_id = workspace;
  IF present >= seats THEN RETURN jsonb_build_object('status', 'exhausted', 'members', present, 'limit', seats); END IF;
  INSERT INTO memberships (workspace_id, user_id, role) VALUES (workspace, a_user, a_role);
  RETURN jsonb_build_object('status', 'added', 'members', present + 1, 'limit', seats);
END
$$;
CREATE POLICY reviewed_functions ON memberships TO guildhall_definer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON memberships TO guildhall_definer;
REVOKE INSERT ON memberships FROM guildhall_app, guildhall_platform;
-- A seat passes to nobody else by an update.
REVOKE UPDATE ON memberships FROM guildhall_app;
GRANT UPDATE (role, session_version) ON memberships TO guildhall_app;

-- How long sockets of a workspace were open, by the day on which a node said so.
CREATE TABLE socket_time (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  day text COLLATE "C" NOT NULL,
  node_id text COLLATE "C" NOT NULL,
  open_ms bigint NOT NULL CHECK (open_ms >= 0),
  PRIMARY KEY (workspace_id, day, node_id)
);
CALL make_tenant_table('socket_time', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Books what a node's sockets have been open in all since the node began, so that telling it twice counts once.
-- totals: [{workspace_id, open_ms}]
CREATE FUNCTION count_socket_time(node text, totals jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  INSERT INTO socket_time AS s (workspace_id, day, node_id, open_ms)
    SELECT t.workspace_id, d.day, node, greatest(0, t.open_ms - (SELECT coalesce(sum(x.open_ms), 0) FROM socket_time x
        WHERE x.workspace_id = t.workspace_id AND x.node_id = node AND x.day <> d.day)::bigint)
      FROM jsonb_to_recordset(totals) AS t(workspace_id text, open_ms bigint) JOIN workspaces w ON w.workspace_id = t.workspace_id,
        (SELECT to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day) d
      ORDER BY t.workspace_id
    ON CONFLICT (workspace_id, day, node_id) DO UPDATE SET open_ms = greatest(s.open_ms, excluded.open_ms)
$$;

-- What is only counted is read from where it lies, by period.
CREATE INDEX steps_tools ON steps (workspace_id, started_at) WHERE kind = 'tool';
CREATE INDEX events_at ON events (workspace_id, at);

-- What a workspace's own limit of a meter follows from. Versioned, like the limit.
--   in force = the lesser of own_cap and (override or else the plan's number, plus the overage that was opted in to)
-- NULL is no number: a plan without one leaves only what the workspace allows itself.
CREATE TABLE limit_terms (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL CHECK (meter IN ('model_cost', 'agent_time', 'concurrent_tasks', 'api_requests', 'members')),
  version int NOT NULL,
  included bigint CHECK (included >= 0),
  -- By contract, in place of the plan's number; stays when the plan changes.
  is_overridden boolean NOT NULL DEFAULT false,
  override_amount bigint CHECK (override_amount >= 0),
  overage bigint NOT NULL DEFAULT 0 CHECK (overage >= 0),
  own_cap bigint CHECK (own_cap >= 0),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_now(),
  CHECK (is_overridden OR override_amount IS NULL),
  PRIMARY KEY (workspace_id, meter, version)
);
CALL make_tenant_table('limit_terms', 'SELECT', 'SELECT, INSERT');

-- The most that a workspace may allow itself; NULL is no limit.
CREATE FUNCTION most_allowed(t limit_terms) RETURNS bigint
  LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp
AS $$
  SELECT CASE WHEN t.is_overridden THEN t.override_amount ELSE t.included END + t.overage
$$;

-- The terms as they are. The caller holds the lock of the limit.
CREATE FUNCTION present_terms(workspace text, a_meter text) RETURNS limit_terms
  LANGUAGE plpgsql STABLE SET search_path = public, pg_temp
AS $$
DECLARE
  t limit_terms;
BEGIN
  SELECT * INTO t FROM limit_terms x WHERE x.workspace_id = workspace AND x.meter = a_meter ORDER BY x.version DESC LIMIT 1;
  IF NOT FOUND THEN
    t.workspace_id := workspace;
    t.meter := a_meter;
    t.version := 0;
    t.is_overridden := false;
    t.overage := 0;
  END IF;
  RETURN t;
END
$$;

-- Stores new terms, and the limit that follows from them as a new version when it is another one.
-- -> {meter, before, amount, version}
CREATE FUNCTION store_terms(t limit_terms, actor text) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  -- LEAST passes over NULL.
  amount bigint := least(most_allowed(t), t.own_cap);
  before limits;
  next_version int;
BEGIN
  INSERT INTO limit_terms (workspace_id, meter, version, included, is_overridden, override_amount, overage, own_cap, changed_by)
    VALUES (t.workspace_id, t.meter, t.version + 1, t.included, t.is_overridden, t.override_amount, t.overage, t.own_cap, actor);
  SELECT * INTO before FROM limits l
    WHERE l.workspace_id = t.workspace_id AND l.meter = t.meter AND l.level = 'workspace' AND l.scope_id = t.workspace_id ORDER BY l.version DESC LIMIT 1;
  next_version := before.version;
  IF before.version IS NULL OR before.amount IS DISTINCT FROM amount THEN
    next_version := set_limit(t.meter, 'workspace', t.workspace_id, amount, actor);
  END IF;
  RETURN jsonb_build_object('meter', t.meter, 'before', before.amount, 'amount', amount, 'version', next_version);
END
$$;

-- Puts the transaction's workspace on a plan: all its limits in one step. What was agreed (overrides), opted in to
-- (overage) and set by the workspace itself stays. Admissions use the new limits from the next one on; what is open is
-- honoured, and what was used in this period stays used.
-- included: [{meter, amount}] -> [{meter, before, amount, version}]
CREATE FUNCTION set_plan(a_plan text, included jsonb, actor text) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  item record;
  t limit_terms;
  changes jsonb := '[]';
BEGIN
  UPDATE workspaces w SET plan = a_plan WHERE w.workspace_id = workspace;
  -- All locks first, in one order.
  FOR item IN SELECT x.meter FROM jsonb_to_recordset(included) AS x(meter text, amount bigint) ORDER BY x.meter LOOP
    PERFORM pg_advisory_xact_lock(limit_lock(workspace, item.meter, 'workspace', workspace));
  END LOOP;
  FOR item IN SELECT x.meter, x.amount FROM jsonb_to_recordset(included) AS x(meter text, amount bigint) ORDER BY x.meter LOOP
    t := present_terms(workspace, item.meter);
    t.included := item.amount;
    changes := changes || store_terms(t, actor);
  END LOOP;
  RETURN changes;
END
$$;

-- What was agreed with a workspace in place of its plan's number. without: back to the plan.
CREATE FUNCTION set_override(a_meter text, agreed bigint, without boolean, actor text) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  t limit_terms;
BEGIN
  PERFORM pg_advisory_xact_lock(limit_lock(workspace, a_meter, 'workspace', workspace));
  t := present_terms(workspace, a_meter);
  t.is_overridden := NOT without;
  t.override_amount := CASE WHEN NOT without THEN agreed END;
  RETURN store_terms(t, actor);
END
$$;

-- What a workspace allows itself, never more than its plan does; NULL is all of that.
-- -> {status: 'set', meter, before, amount, version} | {status: 'beyond_plan', most}
CREATE FUNCTION set_own_cap(a_meter text, cap bigint, actor text) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  t limit_terms;
BEGIN
  PERFORM pg_advisory_xact_lock(limit_lock(workspace, a_meter, 'workspace', workspace));
  t := present_terms(workspace, a_meter);
  IF cap > most_allowed(t) THEN RETURN jsonb_build_object('status', 'beyond_plan', 'most', most_allowed(t)); END IF;
  t.own_cap := cap;
  RETURN store_terms(t, actor) || '{"status":"set"}';
END
$$;

-- How much beyond what its plan includes a workspace is ready to pay for. Makes no sense without an included amount.
-- -> {status: 'set', meter, before, amount, version} | {status: 'nothing_included'}
CREATE FUNCTION set_overage(a_meter text, cap bigint, actor text) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  t limit_terms;
BEGIN
  PERFORM pg_advisory_xact_lock(limit_lock(workspace, a_meter, 'workspace', workspace));
  t := present_terms(workspace, a_meter);
  IF most_allowed(t) IS NULL THEN RETURN '{"status":"nothing_included"}'; END IF;
  t.overage := cap;
  RETURN store_terms(t, actor) || '{"status":"set"}';
END
$$;

-- Limits that hold for a while: what was set before comes back by itself at `ends_at`. `former` is what is then stored (of
-- the workspace its own cap), `former_limit` the limit that was in force. A further change of the same limit for a while
-- keeps both; any other ends the exception, for somebody has decided anew.
CREATE TABLE temporary_limits (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL,
  level text NOT NULL CHECK (level IN ('workspace', 'agent', 'task', 'key')),
  scope_id text COLLATE "C" NOT NULL,
  former bigint,
  former_limit bigint,
  ends_at timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, meter, level, scope_id)
);
CREATE INDEX temporary_limits_end ON temporary_limits (ends_at);
CALL make_tenant_table('temporary_limits', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT, UPDATE, DELETE');

-- Ends the exceptions whose time is over, each as a new version with its audit line. Open holds are honoured, as with
-- every change. -> how many ended
CREATE FUNCTION end_temporary_limits() RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  c temporary_limits;
  t limit_terms;
  actor text := 'system:limit_ended';
  ended int := 0;
BEGIN
  FOR c IN SELECT * FROM temporary_limits x WHERE x.ends_at <= clock_now() ORDER BY x.ends_at LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
    PERFORM set_config('app.workspace_id', c.workspace_id, true);
    IF c.level = 'workspace' THEN
      PERFORM pg_advisory_xact_lock(limit_lock(c.workspace_id, c.meter, 'workspace', c.workspace_id));
      t := present_terms(c.workspace_id, c.meter);
      t.own_cap := c.former;
      PERFORM store_terms(t, actor);
    ELSE
      IF c.level = 'task' AND c.meter = 'model_calls' THEN
        UPDATE tasks k SET model_call_limit = c.former WHERE k.workspace_id = c.workspace_id AND k.id = c.scope_id;
      ELSIF c.level = 'task' AND c.meter = 'tool_calls' THEN
        UPDATE tasks k SET tool_call_limit = c.former WHERE k.workspace_id = c.workspace_id AND k.id = c.scope_id;
      END IF;
      PERFORM set_limit(c.meter, c.level, c.scope_id, c.former, actor);
    END IF;
    DELETE FROM temporary_limits x WHERE x.workspace_id = c.workspace_id AND x.meter = c.meter AND x.level = c.level AND x.scope_id = c.scope_id;
    PERFORM append_audit(actor, 'limit.ended', c.meter || '/' || c.level || '/' || c.scope_id, 'local', NULL,
      encode(sha256(convert_to(coalesce(c.former::text, 'null'), 'UTF8')), 'hex'));
    ended := ended + 1;
  END LOOP;
  PERFORM set_config('app.workspace_id', '', true);
  RETURN ended;
END
$$;

REVOKE EXECUTE ON FUNCTION most_allowed(limit_terms), present_terms(text, text), store_terms(limit_terms, text) FROM PUBLIC;
CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION most_allowed(limit_terms), present_terms(text, text), store_terms(limit_terms, text) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION lease_requests(text, text, bigint, jsonb, bigint), note_refused_requests(text, jsonb), count_socket_time(text, jsonb), end_temporary_limits() TO guildhall_ledger;
GRANT EXECUTE ON FUNCTION add_member(text, text), set_own_cap(text, bigint, text), set_overage(text, bigint, text) TO guildhall_app, guildhall_platform;
GRANT EXECUTE ON FUNCTION set_plan(text, jsonb, text), set_override(text, bigint, boolean, text) TO guildhall_platform;
