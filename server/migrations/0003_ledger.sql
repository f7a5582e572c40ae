-- Limits are versioned rows: a change is a new version, so that every hold can name the one it saw.
-- amount: nano-USD for model_cost, milliseconds for agent_time, a count otherwise; NULL is no limit.
CREATE TABLE limits (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL CHECK (meter IN ('model_cost', 'agent_time', 'concurrent_tasks', 'api_requests', 'members')),
  level text NOT NULL CHECK (level IN ('task', 'agent', 'workspace')),
  scope_id text COLLATE "C" NOT NULL,
  version int NOT NULL,
  amount bigint CHECK (amount >= 0),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, meter, level, scope_id, version)
);
CALL make_tenant_table('limits', 'SELECT', 'SELECT, INSERT', 'SELECT, INSERT');

-- The balance of one budget level and period. period: 'all', a UTC month '2026-11', or a UTC day '2026-11-23'.
-- The level 'overrun' is the platform's own account: what a provider charged beyond a hold.
CREATE TABLE budgets (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL,
  level text NOT NULL CHECK (level IN ('run', 'task', 'agent', 'workspace', 'owner', 'platform', 'overrun')),
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  limit_version int NOT NULL DEFAULT 0,
  limit_amount bigint,
  posted bigint NOT NULL DEFAULT 0 CHECK (posted >= 0),
  held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
  PRIMARY KEY (workspace_id, meter, level, scope_id, period)
);
CALL make_tenant_table('budgets', 'SELECT', 'SELECT, INSERT, UPDATE');

-- The two top levels, shared by workspaces. They hand out chunks ahead of time (`granted`) to the workspaces' own
-- rows of that level, so that an admission touches a shared row only when a chunk is used up.
CREATE TABLE top_budgets (
  level text NOT NULL CHECK (level IN ('owner', 'platform')),
  scope_id text COLLATE "C" NOT NULL,
  meter text NOT NULL,
  period text COLLATE "C" NOT NULL,
  limit_amount bigint NOT NULL CHECK (limit_amount >= 0),
  granted bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (level, scope_id, meter, period)
);
CREATE TABLE top_limits (
  level text NOT NULL CHECK (level IN ('owner', 'platform')),
  scope_id text COLLATE "C" NOT NULL,
  meter text NOT NULL,
  version int NOT NULL,
  amount bigint CHECK (amount >= 0),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (level, scope_id, meter, version)
);
GRANT SELECT, INSERT, UPDATE ON top_budgets TO guildhall_definer;
GRANT SELECT ON top_limits TO guildhall_definer;
GRANT SELECT ON top_budgets TO guildhall_platform;
GRANT SELECT, INSERT ON top_limits TO guildhall_platform;

-- Processes that own holds. One that stopped saying that it lives is dead, and its open holds are posted in full.
CREATE TABLE processes (
  id text COLLATE "C" PRIMARY KEY,
  role text NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON processes TO guildhall_definer;
GRANT SELECT ON processes TO guildhall_platform;

-- One row per upstream attempt. `levels` is what the hold saw at each level, leaf first:
-- [{level, scope_id, period, limit_version, limit, posted, held}].
CREATE TABLE holds (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  call_no int NOT NULL,
  attempt_no int NOT NULL,
  epoch int NOT NULL,
  owner_id text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('HELD', 'DISPATCHED', 'SETTLED', 'PROVISIONAL', 'VOID')),
  model text NOT NULL,
  price_version text NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  max_tokens int NOT NULL CHECK (max_tokens > 0),
  levels jsonb NOT NULL,
  posted bigint CHECK (posted BETWEEN 0 AND amount),
  overrun bigint NOT NULL DEFAULT 0 CHECK (overrun >= 0),
  usage jsonb,
  held_at timestamptz NOT NULL DEFAULT clock_now(),
  dispatched_at timestamptz,
  settled_at timestamptz,
  CHECK ((state IN ('SETTLED', 'PROVISIONAL')) = (posted IS NOT NULL)),
  CHECK (state NOT IN ('DISPATCHED', 'SETTLED', 'PROVISIONAL') OR dispatched_at IS NOT NULL),
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, run_id, call_no, attempt_no),
  FOREIGN KEY (workspace_id, run_id) REFERENCES runs
);
CREATE INDEX holds_open ON holds (owner_id, held_at) WHERE state IN ('HELD', 'DISPATCHED');
CALL make_tenant_table('holds', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Append-only. The lines of a budget sum to its `posted`. A provisional charge is lowered by a new line.
CREATE TABLE ledger_lines (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  id bigint GENERATED ALWAYS AS IDENTITY,
  meter text NOT NULL,
  level text NOT NULL,
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('settle', 'provisional', 'lowered', 'overrun', 'agent_time', 'agent_time_returned')),
  amount bigint NOT NULL,
  hold_id text COLLATE "C",
  run_id text COLLATE "C",
  at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, meter, level, scope_id, period) REFERENCES budgets,
  FOREIGN KEY (workspace_id, hold_id) REFERENCES holds (workspace_id, id)
);
CREATE UNIQUE INDEX ledger_lines_once ON ledger_lines (workspace_id, hold_id, kind, level, scope_id) WHERE hold_id IS NOT NULL;
CALL make_tenant_table('ledger_lines', 'SELECT', 'SELECT, INSERT');

-- The stored answer of a finished call, so that a later attempt of the same run that repeats the call pays nothing.
-- `body` is encrypted by the gateway.
CREATE TABLE journal (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  request_hash text COLLATE "C" NOT NULL,
  use_no int NOT NULL,
  hold_id text COLLATE "C" NOT NULL,
  body bytea NOT NULL,
  taken_epoch int NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, run_id, request_hash, use_no),
  FOREIGN KEY (workspace_id, hold_id) REFERENCES holds (workspace_id, id)
);
CALL make_tenant_table('journal', 'SELECT', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE');

-- The limit in force for a level when its budget row is opened. A task's limit is the task's own until it is changed.
CREATE FUNCTION open_budget(workspace text, a_meter text, a_level text, scope text, a_period text) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  amount bigint;
  version int := 0;
BEGIN
  SELECT l.amount, l.version INTO amount, version FROM limits l
    WHERE l.workspace_id = workspace AND l.meter = a_meter AND l.level = a_level AND l.scope_id = scope
    ORDER BY l.version DESC LIMIT 1;
  IF NOT FOUND THEN
    version := 0;
    IF a_level = 'task' THEN
      SELECT CASE a_meter WHEN 'model_cost' THEN t.cost_limit_nano_usd ELSE t.agent_time_limit_ms END INTO amount
        FROM tasks t WHERE t.workspace_id = workspace AND t.id = scope;
    ELSIF a_level IN ('owner', 'platform') THEN
      SELECT l.amount, l.version INTO amount, version FROM top_limits l
        WHERE l.level = a_level AND l.scope_id = scope AND l.meter = a_meter ORDER BY l.version DESC LIMIT 1;
      version := coalesce(version, 0);
      IF amount IS NOT NULL THEN
        INSERT INTO top_budgets (level, scope_id, meter, period, limit_amount) VALUES (a_level, scope, a_meter, a_period, amount) ON CONFLICT DO NOTHING;
        amount := 0;
      END IF;
    END IF;
  END IF;
  INSERT INTO budgets (workspace_id, meter, level, scope_id, period, limit_version, limit_amount)
    VALUES (workspace, a_meter, a_level, scope, a_period, version, amount) ON CONFLICT DO NOTHING;
END
$$;

-- Hands the workspace a further chunk (at least what is needed, else 1 % of the limit, else what is left).
-- The shared row is locked last, and only when the chunk in hand is used up.
CREATE FUNCTION grant_chunk(b budgets, needed bigint) RETURNS bigint
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  top top_budgets;
  chunk bigint;
BEGIN
  SELECT * INTO top FROM top_budgets t WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period FOR UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
  chunk := greatest(0, least(top.limit_amount - top.granted, greatest(needed, top.limit_amount / 100)));
  IF chunk > 0 THEN
    UPDATE top_budgets t SET granted = t.granted + chunk WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period;
    UPDATE budgets x SET limit_amount = x.limit_amount + chunk
      WHERE x.workspace_id = b.workspace_id AND x.meter = b.meter AND x.level = b.level AND x.scope_id = b.scope_id AND x.period = b.period;
  END IF;
  RETURN chunk;
END
$$;

CREATE TYPE budget_key AS (level text, scope_id text, period text);

-- The levels that a run's spending counts against, leaf first: run, task and its ancestors, agent, workspace, billing
-- account, platform. Always locked in this order, so the hottest row is locked last and shortest.
CREATE FUNCTION run_levels(workspace text, run text, a_meter text) RETURNS budget_key[]
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  WITH RECURSIVE chain AS (
    SELECT t.id, t.parent_task_id, t.agent_id, 1 AS distance FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
      WHERE r.workspace_id = workspace AND r.id = run
    UNION ALL
    SELECT p.id, p.parent_task_id, p.agent_id, c.distance + 1 FROM chain c JOIN tasks p ON p.workspace_id = workspace AND p.id = c.parent_task_id
  ), month AS (SELECT to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM') AS month, to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day)
  SELECT array_agg(ROW(level, scope_id, period)::budget_key ORDER BY rank) FROM (
    SELECT 'run' AS level, run AS scope_id, 'all' AS period, 0 AS rank
    UNION ALL SELECT 'task', id, 'all', distance FROM chain
    UNION ALL SELECT 'agent', agent_id, month, 1000 FROM chain, month WHERE distance = 1
    UNION ALL SELECT 'workspace', workspace, month, 1001 FROM month
    UNION ALL SELECT 'owner', w.billing_account_id, month, 1002 FROM month, workspaces w WHERE w.workspace_id = workspace
    UNION ALL SELECT 'platform', 'platform', day, 1003 FROM month
  ) levels
$$;

-- Locks the levels leaf to root and answers what each of them leaves. Opens rows on first use.
-- -> [{level, scope_id, period, limit_version, limit, posted, held}]
CREATE FUNCTION lock_levels(workspace text, a_meter text, keys budget_key[], needed bigint) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  k budget_key;
  b budgets;
  seen jsonb := '[]';
BEGIN
  FOREACH k IN ARRAY keys LOOP
    SELECT * INTO b FROM budgets x WHERE x.workspace_id = workspace AND x.meter = a_meter AND x.level = k.level AND x.scope_id = k.scope_id AND x.period = k.period FOR UPDATE;
    IF NOT FOUND THEN
      PERFORM open_budget(workspace, a_meter, k.level, k.scope_id, k.period);
      SELECT * INTO STRICT b FROM budgets x WHERE x.workspace_id = workspace AND x.meter = a_meter AND x.level = k.level AND x.scope_id = k.scope_id AND x.period = k.period FOR UPDATE;
    END IF;
    IF k.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL AND b.posted + b.held + needed > b.limit_amount THEN
      b.limit_amount := b.limit_amount + grant_chunk(b, b.posted + b.held + needed - b.limit_amount);
    END IF;
    seen := seen || jsonb_build_object('level', k.level, 'scope_id', k.scope_id, 'period', k.period, 'limit_version', b.limit_version, 'limit', b.limit_amount, 'posted', b.posted, 'held', b.held);
  END LOOP;
  RETURN seen;
END
$$;

-- Reserves the worst case of one upstream attempt at every level, or nothing at all.
-- item: {workspace_id, run_id, epoch, token_hash, hold_id, call_no?, attempt_no, owner_id, model, price_version,
--        input_nano_usd, output_nano_usd_per_token, max_tokens, min_tokens, dispatch}
-- -> {status: 'held', call_no, amount, max_tokens, task_id}
--  | {status: 'stale'}                      the run is not leased to this epoch and token
--  | {status: 'call_limit', limit}
--  | {status: 'reserved' | 'exhausted', level, scope_id, period, limit, posted, held, needed}
--    reserved: it would fit once open holds return; exhausted: it would not.
CREATE FUNCTION reserve(item jsonb) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := item->>'workspace_id';
  run text := item->>'run_id';
  input_cost bigint := (item->>'input_nano_usd')::bigint;
  token_price bigint := (item->>'output_nano_usd_per_token')::bigint;
  wanted int := (item->>'max_tokens')::int;
  least_tokens int := least(wanted, (item->>'min_tokens')::int);
  task tasks;
  next_call int;
  keys budget_key[];
  seen jsonb;
  tight jsonb;
  granted bigint;
  amount bigint;
BEGIN
  -- Shared lock: the lease cannot be taken away between this check and the hold.
  SELECT t.* INTO task FROM runs r
    JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch
    JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
    WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = (item->>'epoch')::int AND r.state = 'claimed'
      AND r.lease_until > clock_now() AND a.token_hash = item->>'token_hash'
    FOR SHARE OF r;
  IF NOT FOUND THEN RETURN '{"status":"stale"}'; END IF;

  keys := run_levels(workspace, run, 'model_cost');
  seen := lock_levels(workspace, 'model_cost', keys, input_cost + token_price * wanted);

  -- The run's own row is locked now, so call numbers of a run are given one at a time.
  next_call := (item->>'call_no')::int;
  IF next_call IS NULL THEN
    SELECT coalesce(max(h.call_no), 0) + 1 INTO next_call FROM holds h WHERE h.workspace_id = workspace AND h.run_id = run;
    IF next_call > task.model_call_limit THEN
      RETURN jsonb_build_object('status', 'call_limit', 'limit', task.model_call_limit);
    END IF;
  END IF;

  SELECT l INTO tight FROM jsonb_array_elements(seen) l WHERE l->>'limit' IS NOT NULL
    ORDER BY (l->>'limit')::bigint - (l->>'posted')::bigint - (l->>'held')::bigint LIMIT 1;
  granted := wanted;
  IF tight IS NOT NULL THEN
    granted := least(wanted, CASE WHEN token_price = 0 THEN wanted ELSE
      floor(((tight->>'limit')::numeric - (tight->>'posted')::numeric - (tight->>'held')::numeric - input_cost) / token_price) END);
    IF granted < least_tokens OR (tight->>'limit')::bigint - (tight->>'posted')::bigint - (tight->>'held')::bigint < input_cost THEN
      RETURN tight || jsonb_build_object(
        'status', CASE WHEN (tight->>'limit')::bigint - (tight->>'posted')::bigint >= input_cost + token_price * least_tokens THEN 'reserved' ELSE 'exhausted' END,
        'needed', input_cost + token_price * least_tokens);
    END IF;
  END IF;
  amount := input_cost + token_price * granted;

  UPDATE budgets b SET held = b.held + amount FROM unnest(keys) k
    WHERE b.workspace_id = workspace AND b.meter = 'model_cost' AND b.level = k.level AND b.scope_id = k.scope_id AND b.period = k.period;
  INSERT INTO holds (workspace_id, id, run_id, call_no, attempt_no, epoch, owner_id, state, model, price_version, amount, max_tokens, levels, dispatched_at)
    VALUES (workspace, item->>'hold_id', run, next_call, (item->>'attempt_no')::int, (item->>'epoch')::int, item->>'owner_id',
      CASE WHEN (item->>'dispatch')::boolean THEN 'DISPATCHED' ELSE 'HELD' END, item->>'model', item->>'price_version', amount, granted, seen,
      CASE WHEN (item->>'dispatch')::boolean THEN clock_now() END);
  RETURN jsonb_build_object('status', 'held', 'call_no', next_call, 'amount', amount, 'max_tokens', granted, 'task_id', task.id);
END
$$;

-- Marks a hold as sent, before the first byte leaves. -> false when it was taken away meanwhile.
CREATE FUNCTION mark_dispatched(workspace text, hold text, an_owner text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
  UPDATE holds h SET state = 'DISPATCHED', dispatched_at = clock_now()
    WHERE h.workspace_id = workspace AND h.id = hold AND h.owner_id = an_owner AND h.state = 'HELD';
  RETURN FOUND;
END
$$;

-- Ends a hold by compare-and-set on its state; whoever comes second changes nothing.
-- item: {workspace_id, hold_id, outcome: 'settled' | 'provisional' | 'void', actual_nano_usd?, usage?, journal?: {request_hash, body_base64}}
-- settled: DISPATCHED or PROVISIONAL -> SETTLED at min(actual, amount), the excess on the overrun account.
-- provisional: DISPATCHED -> PROVISIONAL at the full amount. void: HELD -> VOID.
-- -> {status: 'done', posted, overrun} | {status: 'unchanged', state}
CREATE FUNCTION settle(item jsonb) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := item->>'workspace_id';
  outcome text := item->>'outcome';
  actual bigint := coalesce((item->>'actual_nano_usd')::bigint, 0);
  h holds;
  charge bigint;
  excess bigint := 0;
  delta bigint;
  freed bigint;
  line_kind text;
BEGIN
  IF outcome NOT IN ('settled', 'provisional', 'void') OR actual < 0 THEN
    RAISE EXCEPTION 'settle: impossible outcome % %', outcome, actual USING ERRCODE = 'GH002';
  END IF;
  SELECT * INTO h FROM holds x WHERE x.workspace_id = workspace AND x.id = item->>'hold_id' FOR UPDATE;
  IF NOT FOUND OR NOT (
    (outcome = 'settled' AND h.state IN ('DISPATCHED', 'PROVISIONAL'))
    OR (outcome = 'provisional' AND h.state = 'DISPATCHED')
    OR (outcome = 'void' AND h.state = 'HELD')
  ) THEN
    RETURN jsonb_build_object('status', 'unchanged', 'state', h.state);
  END IF;

  charge := CASE outcome WHEN 'settled' THEN least(actual, h.amount) WHEN 'provisional' THEN h.amount ELSE 0 END;
  IF outcome = 'settled' THEN excess := actual - charge; END IF;
  freed := CASE WHEN h.state IN ('HELD', 'DISPATCHED') THEN h.amount ELSE 0 END;
  delta := charge - coalesce(h.posted, 0);
  line_kind := CASE WHEN h.state = 'PROVISIONAL' THEN 'lowered' WHEN outcome = 'provisional' THEN 'provisional' ELSE 'settle' END;

  -- The run's own row first and the platform's last, as in reserve: the same order everywhere, so no deadlock.
  PERFORM lock_levels(workspace, 'model_cost', (SELECT array_agg(ROW(l->>'level', l->>'scope_id', l->>'period')::budget_key ORDER BY n) FROM jsonb_array_elements(h.levels) WITH ORDINALITY e(l, n)), 0);
  UPDATE budgets b SET held = b.held - freed, posted = b.posted + delta FROM jsonb_array_elements(h.levels) l
    WHERE b.workspace_id = workspace AND b.meter = 'model_cost' AND b.level = l->>'level' AND b.scope_id = l->>'scope_id' AND b.period = l->>'period';
  IF outcome <> 'void' THEN
    INSERT INTO ledger_lines (workspace_id, meter, level, scope_id, period, kind, amount, hold_id, run_id)
      SELECT workspace, 'model_cost', l->>'level', l->>'scope_id', l->>'period', line_kind, delta, h.id, h.run_id FROM jsonb_array_elements(h.levels) l;
  END IF;
  IF excess > 0 THEN
    INSERT INTO budgets (workspace_id, meter, level, scope_id, period) VALUES (workspace, 'model_cost', 'overrun', 'platform', 'all') ON CONFLICT DO NOTHING;
    UPDATE budgets b SET posted = b.posted + excess WHERE b.workspace_id = workspace AND b.meter = 'model_cost' AND b.level = 'overrun' AND b.scope_id = 'platform' AND b.period = 'all';
    INSERT INTO ledger_lines (workspace_id, meter, level, scope_id, period, kind, amount, hold_id, run_id)
      VALUES (workspace, 'model_cost', 'overrun', 'platform', 'all', 'overrun', excess, h.id, h.run_id);
  END IF;
  UPDATE holds x SET state = CASE outcome WHEN 'settled' THEN 'SETTLED' WHEN 'provisional' THEN 'PROVISIONAL' ELSE 'VOID' END,
      posted = CASE WHEN outcome = 'void' THEN NULL ELSE charge END, overrun = excess, usage = coalesce(item->'usage', x.usage), settled_at = clock_now()
    WHERE x.workspace_id = workspace AND x.id = h.id;
  IF item ? 'journal' THEN
    INSERT INTO journal (workspace_id, run_id, request_hash, use_no, hold_id, body, taken_epoch)
      SELECT workspace, h.run_id, item->'journal'->>'request_hash', 1 + count(*), h.id, decode(item->'journal'->>'body_base64', 'base64'), h.epoch
        FROM journal j WHERE j.workspace_id = workspace AND j.run_id = h.run_id AND j.request_hash = item->'journal'->>'request_hash';
  END IF;
  RETURN jsonb_build_object('status', 'done', 'posted', charge, 'overrun', excess);
END
$$;

-- The stored answer to a call that an earlier attempt of this run has paid for; each is given out once per attempt.
CREATE FUNCTION take_journal(workspace text, run text, an_epoch int, a_token_hash text, a_request_hash text)
  RETURNS TABLE (hold_id text, body bytea)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM 1 FROM runs r JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch
    WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() AND a.token_hash = a_token_hash
    FOR SHARE OF r;
  IF NOT FOUND THEN RETURN; END IF;
  RETURN QUERY UPDATE journal j SET taken_epoch = an_epoch
    WHERE j.workspace_id = workspace AND j.run_id = run AND j.request_hash = a_request_hash AND j.use_no = (
      SELECT min(x.use_no) FROM journal x WHERE x.workspace_id = workspace AND x.run_id = run AND x.request_hash = a_request_hash AND x.taken_epoch < an_epoch)
    RETURNING j.hold_id, j.body;
END
$$;

-- Books a slice of agent time ahead of its use, at every level, or nothing.
-- -> {status: 'granted', ms} | {status: 'stale'} | {status: 'exhausted', level, scope_id, limit, posted, ...}
CREATE FUNCTION lease_agent_time(workspace text, run text, an_epoch int, slice_ms bigint) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  keys budget_key[];
  seen jsonb;
  tight jsonb;
  granted bigint := slice_ms;
  moment timestamptz := clock_now();
BEGIN
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN '{"status":"stale"}'; END IF;
  keys := run_levels(workspace, run, 'agent_time');
  seen := lock_levels(workspace, 'agent_time', keys, slice_ms);
  SELECT l INTO tight FROM jsonb_array_elements(seen) l WHERE l->>'limit' IS NOT NULL
    ORDER BY (l->>'limit')::bigint - (l->>'posted')::bigint LIMIT 1;
  IF tight IS NOT NULL THEN granted := least(slice_ms, (tight->>'limit')::bigint - (tight->>'posted')::bigint); END IF;
  IF granted <= 0 THEN RETURN tight || '{"status":"exhausted"}'; END IF;
  UPDATE budgets b SET posted = b.posted + granted FROM unnest(keys) k
    WHERE b.workspace_id = workspace AND b.meter = 'agent_time' AND b.level = k.level AND b.scope_id = k.scope_id AND b.period = k.period;
  -- One moment for all lines of a slice: that is how return_agent_time finds them again.
  INSERT INTO ledger_lines (workspace_id, meter, level, scope_id, period, kind, amount, run_id, at)
    SELECT workspace, 'agent_time', k.level, k.scope_id, k.period, 'agent_time', granted, run, moment FROM unnest(keys) k;
  RETURN jsonb_build_object('status', 'granted', 'ms', granted);
END
$$;

-- Gives back the unused end of the last slice; only the attempt that holds the lease can, and never more than it took.
CREATE FUNCTION return_agent_time(workspace text, run text, an_epoch int, unused_ms bigint) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  last_slice bigint;
  stamp timestamptz;
BEGIN
  IF unused_ms <= 0 THEN RETURN false; END IF;
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM 1 FROM budgets b WHERE b.workspace_id = workspace AND b.meter = 'agent_time' AND b.level = 'run' AND b.scope_id = run FOR UPDATE;
  SELECT l.amount, l.at INTO last_slice, stamp FROM ledger_lines l
    WHERE l.workspace_id = workspace AND l.meter = 'agent_time' AND l.level = 'run' AND l.scope_id = run ORDER BY l.id DESC LIMIT 1;
  IF last_slice IS NULL OR last_slice < unused_ms THEN RETURN false; END IF;
  PERFORM lock_levels(workspace, 'agent_time', (SELECT array_agg(ROW(x.level, x.scope_id, x.period)::budget_key ORDER BY x.id) FROM ledger_lines x WHERE x.workspace_id = workspace AND x.run_id = run AND x.kind = 'agent_time' AND x.at = stamp), 0);
  WITH slice AS (
    SELECT x.level, x.scope_id, x.period FROM ledger_lines x WHERE x.workspace_id = workspace AND x.run_id = run AND x.kind = 'agent_time' AND x.at = stamp
  ), lowered AS (
    UPDATE budgets b SET posted = b.posted - unused_ms FROM slice s
      WHERE b.workspace_id = workspace AND b.meter = 'agent_time' AND b.level = s.level AND b.scope_id = s.scope_id AND b.period = s.period
      RETURNING b.level, b.scope_id, b.period
  )
  INSERT INTO ledger_lines (workspace_id, meter, level, scope_id, period, kind, amount, run_id)
    SELECT workspace, 'agent_time', l.level, l.scope_id, l.period, 'agent_time_returned', -unused_ms, run FROM lowered l;
  RETURN true;
END
$$;

-- A new version of a limit; takes effect at the next admission. Open holds are honoured.
CREATE FUNCTION set_limit(a_meter text, a_level text, scope text, new_amount bigint, actor text) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  next_version int;
BEGIN
  PERFORM 1 FROM workspaces w WHERE w.workspace_id = workspace FOR UPDATE;
  SELECT coalesce(max(l.version), 0) + 1 INTO next_version FROM limits l
    WHERE l.workspace_id = workspace AND l.meter = a_meter AND l.level = a_level AND l.scope_id = scope;
  INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by) VALUES (workspace, a_meter, a_level, scope, next_version, new_amount, actor);
  UPDATE budgets b SET limit_version = next_version, limit_amount = new_amount
    WHERE b.workspace_id = workspace AND b.meter = a_meter AND b.level = a_level AND b.scope_id = scope
      AND b.period IN ('all', to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM'));
  RETURN next_version;
END
$$;

-- A process says that it lives.
CREATE FUNCTION process_seen(process text, a_role text) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  INSERT INTO processes (id, role) VALUES (process, a_role) ON CONFLICT (id) DO UPDATE SET seen_at = clock_now()
$$;

-- Ends the holds that nobody will end any more: HELD that never left -> VOID; DISPATCHED of a dead process ->
-- PROVISIONAL at the full amount, never void, for the provider may have seen it. -> how many of each
CREATE FUNCTION reap_holds(dead_after interval, held_for interval, at_most int) RETURNS TABLE (voided int, provisional int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  h record;
BEGIN
  voided := 0;
  provisional := 0;
  FOR h IN
    SELECT x.workspace_id, x.id, x.state FROM holds x
      WHERE (x.state = 'HELD' AND x.held_at < clock_now() - held_for)
        OR (x.state = 'DISPATCHED' AND NOT EXISTS (SELECT 1 FROM processes p WHERE p.id = x.owner_id AND p.seen_at > clock_now() - dead_after))
      ORDER BY x.held_at LIMIT at_most
  LOOP
    IF settle(jsonb_build_object('workspace_id', h.workspace_id, 'hold_id', h.id, 'outcome', CASE h.state WHEN 'HELD' THEN 'void' ELSE 'provisional' END))->>'status' = 'done' THEN
      IF h.state = 'HELD' THEN voided := voided + 1; ELSE provisional := provisional + 1; END IF;
    END IF;
  END LOOP;
  DELETE FROM processes p WHERE p.seen_at < clock_now() - interval '1 day';
  RETURN NEXT;
END
$$;
