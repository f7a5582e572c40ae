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
-- For taking unused chunks back, the one reading across workspaces.
CREATE INDEX budgets_top ON budgets (level, scope_id, meter, period) WHERE level IN ('owner', 'platform');
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
GRANT SELECT, INSERT ON top_limits TO guildhall_definer;
GRANT SELECT ON top_budgets, top_limits TO guildhall_platform;

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
CREATE INDEX holds_open ON holds (held_at) WHERE state IN ('HELD', 'DISPATCHED');
CREATE INDEX holds_recent ON holds (workspace_id, held_at);
CALL make_tenant_table('holds', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Agent time that an attempt booked ahead, one row per slice. `levels` is what it saw, as in holds. Unused time is
-- given back by the epoch that took it.
CREATE TABLE time_slices (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  slice_no int NOT NULL,
  epoch int NOT NULL,
  granted_ms bigint NOT NULL CHECK (granted_ms > 0),
  returned_ms bigint NOT NULL DEFAULT 0 CHECK (returned_ms BETWEEN 0 AND granted_ms),
  levels jsonb NOT NULL,
  granted_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, run_id, slice_no),
  FOREIGN KEY (workspace_id, run_id) REFERENCES runs
);
CALL make_tenant_table('time_slices', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Append-only. The lines of a budget sum to its `posted`. A provisional charge is lowered by a new line.
CREATE TABLE ledger_lines (
  -- Its workspace exists because its budget does; one check less for each of a settlement's lines.
  workspace_id text COLLATE "C" NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  meter text NOT NULL,
  level text NOT NULL,
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('settle', 'provisional', 'lowered', 'overrun', 'agent_time', 'agent_time_returned')),
  amount bigint NOT NULL,
  hold_id text COLLATE "C",
  run_id text COLLATE "C" NOT NULL,
  slice_no int,
  at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, id),
  CHECK ((hold_id IS NULL) = (slice_no IS NOT NULL)),
  FOREIGN KEY (workspace_id, meter, level, scope_id, period) REFERENCES budgets,
  FOREIGN KEY (workspace_id, hold_id) REFERENCES holds (workspace_id, id),
  FOREIGN KEY (workspace_id, run_id, slice_no) REFERENCES time_slices
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

-- Lock order of everything below: the run (shared, so that its lease stands), the hold, then the budget rows of its
-- levels from leaf to root, then the shared rows of the top levels. Two transactions that meet never wait in a circle.

-- One lock per limit, held by who changes it and shared by who opens a balance row under it. Without it a row that is
-- opened while the limit changes would keep the old limit until its period ends.
CREATE FUNCTION limit_lock(workspace text, a_meter text, a_level text, scope text) RETURNS bigint
  LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp
AS $$
  SELECT hashtextextended(concat_ws(' ', workspace, a_meter, a_level, scope), 0)
$$;

-- Opens the balance row of a level with the limit in force. A task's limit is the task's own until it is changed. The
-- workspace's row of a top level starts with nothing: it gets chunks of the shared row.
CREATE FUNCTION open_budget(workspace text, a_meter text, a_level text, scope text, a_period text) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  amount bigint;
  version int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(limit_lock(CASE WHEN a_level IN ('owner', 'platform') THEN '' ELSE workspace END, a_meter, a_level, scope));
  IF a_level IN ('owner', 'platform') THEN
    SELECT l.amount, l.version INTO amount, version FROM top_limits l
      WHERE l.level = a_level AND l.scope_id = scope AND l.meter = a_meter ORDER BY l.version DESC LIMIT 1;
    IF amount IS NOT NULL THEN
      INSERT INTO top_budgets (level, scope_id, meter, period, limit_amount) VALUES (a_level, scope, a_meter, a_period, amount) ON CONFLICT DO NOTHING;
      amount := 0;
    END IF;
  ELSE
    SELECT l.amount, l.version INTO amount, version FROM limits l
      WHERE l.workspace_id = workspace AND l.meter = a_meter AND l.level = a_level AND l.scope_id = scope ORDER BY l.version DESC LIMIT 1;
    IF NOT FOUND AND a_level = 'task' THEN
      SELECT CASE a_meter WHEN 'model_cost' THEN t.cost_limit_nano_usd ELSE t.agent_time_limit_ms END INTO amount
        FROM tasks t WHERE t.workspace_id = workspace AND t.id = scope;
    END IF;
  END IF;
  INSERT INTO budgets (workspace_id, meter, level, scope_id, period, limit_version, limit_amount)
    VALUES (workspace, a_meter, a_level, scope, a_period, coalesce(version, 0), amount) ON CONFLICT DO NOTHING;
END
$$;

-- Sets the workspace's chunk of a top level so that it fits `needed` more than it has: by at least 1 % of the limit,
-- or what is left. When too little is left, all that workspaces were handed and do not use is taken back first, this
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
  chunk := greatest(0, least(top.limit_amount - top.granted + own + others, greatest(needed + own, top.limit_amount / 100)));
  UPDATE top_budgets t SET granted = top.granted - own - others + chunk
    WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = b.meter AND t.period = b.period AND chunk <> own + others;
  UPDATE budgets x SET limit_amount = x.limit_amount - own + chunk
    WHERE chunk <> own AND x.workspace_id = b.workspace_id AND x.meter = b.meter AND x.level = b.level AND x.scope_id = b.scope_id AND x.period = b.period;
  RETURN chunk - own;
END
$$;

CREATE TYPE budget_key AS (level text, scope_id text, period text);

-- The levels that a run's spending counts against, leaf first: run, task and its ancestors, agent, workspace, billing
-- account, platform. The hottest row comes last, so it is locked shortest.
CREATE FUNCTION run_levels(workspace text, run text, a_meter text) RETURNS budget_key[]
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  WITH RECURSIVE chain AS (
    SELECT t.id, t.parent_task_id, t.agent_id, 1 AS distance FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
      WHERE r.workspace_id = workspace AND r.id = run
    UNION ALL
    SELECT p.id, p.parent_task_id, p.agent_id, c.distance + 1 FROM chain c JOIN tasks p ON p.workspace_id = workspace AND p.id = c.parent_task_id
  ), today AS MATERIALIZED (SELECT to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day)
  SELECT array_agg(ROW(level, scope_id, period)::budget_key ORDER BY rank) FROM (
    SELECT 'run' AS level, run AS scope_id, 'all' AS period, 0 AS rank
    UNION ALL SELECT 'task', id, 'all', distance FROM chain
    UNION ALL SELECT 'agent', agent_id, left(day, 7), 1000 FROM chain, today WHERE distance = 1
    UNION ALL SELECT 'workspace', workspace, left(day, 7), 1001 FROM today
    UNION ALL SELECT 'owner', w.billing_account_id, left(day, 7), 1002 FROM today, workspaces w WHERE w.workspace_id = workspace
    UNION ALL SELECT 'platform', 'platform', day, 1003 FROM today
  ) levels
$$;

-- Locks the levels from leaf to root and answers their rows in that order. Rows that do not exist yet are opened
-- before any is locked. After all are locked, top levels that leave less than `needed` get a chunk, and those that were
-- lowered below what they had handed out give back what is unused; NULL leaves chunks as they are.
CREATE FUNCTION lock_levels(workspace text, a_meter text, keys budget_key[], needed bigint) RETURNS budgets[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  k record;
  seen budgets[];
  b budgets;
BEGIN
  FOR k IN
    SELECT u.level, u.scope_id, u.period FROM unnest(keys) WITH ORDINALITY u(level, scope_id, period, n)
      WHERE NOT EXISTS (SELECT FROM budgets x WHERE x.workspace_id = workspace AND x.meter = a_meter AND x.level = u.level AND x.scope_id = u.scope_id AND x.period = u.period)
      ORDER BY u.n
  LOOP
    PERFORM open_budget(workspace, a_meter, k.level, k.scope_id, k.period);
  END LOOP;
  -- Rows are locked as they come out of the sort.
  SELECT array_agg(l.x ORDER BY l.n) INTO seen FROM (
    SELECT x, u.n FROM unnest(keys) WITH ORDINALITY u(level, scope_id, period, n)
      JOIN budgets x ON x.workspace_id = workspace AND x.meter = a_meter AND x.level = u.level AND x.scope_id = u.scope_id AND x.period = u.period
      ORDER BY u.n FOR UPDATE OF x) l;
  IF cardinality(seen) IS DISTINCT FROM cardinality(keys) THEN
    RAISE EXCEPTION 'budget rows of % are missing', keys USING ERRCODE = 'GH002';
  END IF;
  FOR i IN 1 .. cardinality(seen) LOOP
    b := seen[i];
    IF b.level IN ('owner', 'platform') AND (b.posted + b.held + needed > b.limit_amount OR (needed IS NOT NULL AND b.limit_amount IS NOT NULL
      AND EXISTS (SELECT FROM top_budgets t WHERE t.level = b.level AND t.scope_id = b.scope_id AND t.meter = a_meter AND t.period = b.period AND t.granted > t.limit_amount))) THEN
      b.limit_amount := b.limit_amount + grant_chunk(b, b.posted + b.held + needed - b.limit_amount);
      seen[i] := b;
    END IF;
  END LOOP;
  RETURN seen;
END
$$;

-- The form in which rows that were seen are stored and told.
CREATE FUNCTION seen_levels(seen budgets[]) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp
AS $$
  SELECT jsonb_agg(jsonb_build_object('level', l.level, 'scope_id', l.scope_id, 'period', l.period, 'limit_version', l.limit_version,
    'limit', l.limit_amount, 'posted', l.posted, 'held', l.held) ORDER BY n) FROM unnest(seen) WITH ORDINALITY l(workspace_id, meter, level, scope_id, period, limit_version, limit_amount, posted, held, n)
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
      FROM unnest(seen) WITH ORDINALITY u(workspace_id, meter, level, scope_id, period, limit_version, limit_amount, posted, held, n)
      WHERE u.limit_amount - u.posted - u.held < refusal.needed
    ) l
    ORDER BY (l.without_holds >= refusal.needed), l.limit_amount - l.posted - l.held, l.n LIMIT 1
$$;

-- Reserves the worst case of one upstream attempt at every level, or nothing at all. When the wish does not fit, the
-- output is clamped to what is left, but not below min_tokens.
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
  dispatched timestamptz := CASE WHEN (item->>'dispatch')::boolean THEN clock_now() END;
  task_id text;
  call_limit int;
  next_call int;
  keys budget_key[];
  seen budgets[];
  room bigint;
  granted int := wanted;
  amount bigint;
BEGIN
  -- 2^53 - 1: what a JavaScript number holds exactly. The product is numeric, so it cannot overflow unseen.
  IF NOT coalesce(input_cost >= 0 AND token_price >= 0 AND least_tokens >= 1 AND input_cost + token_price::numeric * wanted BETWEEN 1 AND 9007199254740991, false) THEN
    RAISE EXCEPTION 'reserve: impossible amounts % + % x %', input_cost, token_price, wanted USING ERRCODE = 'GH002';
  END IF;
  -- Shared lock: the lease cannot be taken away between this check and the hold.
  SELECT t.id, t.model_call_limit INTO task_id, call_limit FROM runs r
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
    -- Ordered, not max(): so the key's own index is taken, also while there are no statistics yet.
    SELECT h.call_no INTO next_call FROM holds h WHERE h.workspace_id = workspace AND h.run_id = run ORDER BY h.call_no DESC LIMIT 1;
    next_call := coalesce(next_call, 0) + 1;
    IF next_call > call_limit THEN
      RETURN jsonb_build_object('status', 'call_limit', 'limit', call_limit);
    END IF;
  END IF;

  SELECT min(l.limit_amount - l.posted - l.held) INTO room FROM unnest(seen) l;
  IF room < input_cost + token_price * least_tokens THEN
    RETURN refusal(seen, input_cost + token_price * least_tokens);
  END IF;
  IF room IS NOT NULL AND token_price > 0 THEN
    granted := least(wanted, (room - input_cost) / token_price);
  END IF;
  amount := input_cost + token_price * granted;

  UPDATE budgets b SET held = b.held + amount FROM unnest(keys) k
    WHERE b.workspace_id = workspace AND b.meter = 'model_cost' AND b.level = k.level AND b.scope_id = k.scope_id AND b.period = k.period;
  INSERT INTO holds (workspace_id, id, run_id, call_no, attempt_no, epoch, owner_id, state, model, price_version, amount, max_tokens, levels, dispatched_at)
    VALUES (workspace, item->>'hold_id', run, next_call, (item->>'attempt_no')::int, (item->>'epoch')::int, item->>'owner_id',
      CASE WHEN dispatched IS NULL THEN 'HELD' ELSE 'DISPATCHED' END, item->>'model', item->>'price_version', amount, granted, seen_levels(seen), dispatched);
  RETURN jsonb_build_object('status', 'held', 'call_no', next_call, 'amount', amount, 'max_tokens', granted, 'task_id', task_id);
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

-- The levels that a hold or a slice was admitted under: what ends it is booked there, also after the period has turned.
CREATE FUNCTION level_keys(levels jsonb) RETURNS budget_key[]
  LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp
AS $$
  SELECT array_agg(ROW(l->>'level', l->>'scope_id', l->>'period')::budget_key ORDER BY n) FROM jsonb_array_elements(levels) WITH ORDINALITY e(l, n)
$$;

-- Books a change at each of these levels, locked from leaf to root as always, with a line each when there is a kind.
CREATE FUNCTION book(workspace text, a_meter text, keys budget_key[], held_change bigint, posted_change bigint, line ledger_lines) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM lock_levels(workspace, a_meter, keys, NULL);
  UPDATE budgets b SET held = b.held + held_change, posted = b.posted + posted_change FROM unnest(keys) k
    WHERE b.workspace_id = workspace AND b.meter = a_meter AND b.level = k.level AND b.scope_id = k.scope_id AND b.period = k.period;
  IF line.kind IS NOT NULL THEN
    INSERT INTO ledger_lines (workspace_id, meter, level, scope_id, period, kind, amount, hold_id, run_id, slice_no)
      SELECT workspace, a_meter, k.level, k.scope_id, k.period, line.kind, posted_change, line.hold_id, line.run_id, line.slice_no FROM unnest(keys) k;
  END IF;
END
$$;

-- Ends a hold by compare-and-set on its state; whoever comes second changes nothing.
-- item: {workspace_id, hold_id, outcome: 'settled' | 'provisional' | 'void', actual_nano_usd?, usage?, journal?: {request_hash, body_base64}}
-- settled: DISPATCHED or PROVISIONAL -> SETTLED at min(actual, amount), the excess on the overrun account. A provisional
-- charge is the full amount, so this can only lower it.
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
  line ledger_lines;
BEGIN
  IF NOT coalesce(outcome IN ('settled', 'provisional', 'void') AND actual >= 0, false) THEN
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
  line.kind := CASE WHEN outcome = 'void' THEN NULL WHEN h.state = 'PROVISIONAL' THEN 'lowered' WHEN outcome = 'provisional' THEN 'provisional' ELSE 'settle' END;
  line.hold_id := h.id;
  line.run_id := h.run_id;
  PERFORM book(workspace, 'model_cost', level_keys(h.levels), CASE WHEN h.state = 'PROVISIONAL' THEN 0 ELSE -h.amount END, charge - coalesce(h.posted, 0), line);
  IF excess > 0 THEN
    -- After the platform's row, so that this order is everyone's, too.
    INSERT INTO budgets AS b (workspace_id, meter, level, scope_id, period, posted) VALUES (workspace, 'model_cost', 'overrun', 'platform', 'all', excess)
      ON CONFLICT (workspace_id, meter, level, scope_id, period) DO UPDATE SET posted = b.posted + excess;
    INSERT INTO ledger_lines (workspace_id, meter, level, scope_id, period, kind, amount, hold_id, run_id)
      VALUES (workspace, 'model_cost', 'overrun', 'platform', 'all', 'overrun', excess, h.id, h.run_id);
  END IF;
  UPDATE holds x SET state = CASE outcome WHEN 'settled' THEN 'SETTLED' WHEN 'provisional' THEN 'PROVISIONAL' ELSE 'VOID' END,
      posted = CASE WHEN outcome = 'void' THEN NULL ELSE charge END, overrun = excess, usage = coalesce(item->'usage', x.usage), settled_at = clock_now()
    WHERE x.workspace_id = workspace AND x.id = h.id;
  -- The run's own row is locked, so the uses of a request are numbered one at a time.
  IF item ? 'journal' THEN
    INSERT INTO journal (workspace_id, run_id, request_hash, use_no, hold_id, body, taken_epoch)
      SELECT workspace, h.run_id, item->'journal'->>'request_hash', 1 + count(*), h.id, decode(item->'journal'->>'body_base64', 'base64'), h.epoch
        FROM journal j WHERE j.workspace_id = workspace AND j.run_id = h.run_id AND j.request_hash = item->'journal'->>'request_hash';
  END IF;
  RETURN jsonb_build_object('status', 'done', 'posted', charge, 'overrun', excess);
END
$$;

-- Whether this token's attempt holds the lease of its run: for requests that cost nothing and so take no hold.
CREATE FUNCTION run_active(workspace text, run text, an_epoch int, a_token_hash text) RETURNS boolean
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM runs r JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch
    WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() AND a.token_hash = a_token_hash)
$$;

-- The stored answer to a call that an earlier attempt of this run has paid for; each is given out once per attempt.
CREATE FUNCTION take_journal(workspace text, run text, an_epoch int, a_token_hash text, a_request_hash text)
  RETURNS TABLE (hold_id text, body bytea)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  next_use int;
BEGIN
  PERFORM 1 FROM runs r JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch
    WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() AND a.token_hash = a_token_hash
    FOR SHARE OF r;
  IF NOT FOUND THEN RETURN; END IF;
  -- Two equal calls at once: the second waits for the row, finds it taken and goes on to the next use.
  SELECT x.use_no INTO next_use FROM journal x WHERE x.workspace_id = workspace AND x.run_id = run AND x.request_hash = a_request_hash AND x.taken_epoch < an_epoch
    ORDER BY x.use_no LIMIT 1 FOR UPDATE;
  RETURN QUERY UPDATE journal j SET taken_epoch = an_epoch
    WHERE j.workspace_id = workspace AND j.run_id = run AND j.request_hash = a_request_hash AND j.use_no = next_use
    RETURNING j.hold_id, j.body;
END
$$;

-- An answer that was given out to this attempt did not reach it, so the attempt may take it once more.
CREATE FUNCTION mark_undelivered(workspace text, run text, an_epoch int, a_request_hash text, hold text) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  UPDATE journal j SET taken_epoch = an_epoch - 1
    WHERE j.workspace_id = workspace AND j.run_id = run AND j.request_hash = a_request_hash AND j.hold_id = hold AND j.taken_epoch = an_epoch
$$;

-- Books a slice of agent time ahead of its use, at every level, or nothing. Near a limit the slice is shorter, but a
-- slice below a second is refused: it would be gone before the work that it is for has begun.
-- `booking_no` counts the bookings of the epoch from 1, so that whoever lost an answer asks again under the same number
-- and is told what was booked then.
-- -> {status: 'granted', ms} | {status: 'stale'} | {status: 'exhausted', level, scope_id, period, limit, posted, held, needed}
CREATE FUNCTION lease_agent_time(workspace text, run text, an_epoch int, booking_no int, slice_ms bigint) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  keys budget_key[];
  seen budgets[];
  room bigint;
  granted bigint;
  booked int;
  line ledger_lines;
BEGIN
  IF NOT coalesce(slice_ms BETWEEN 1 AND 86400000, false) THEN
    RAISE EXCEPTION 'lease_agent_time: impossible slice %', slice_ms USING ERRCODE = 'GH002';
  END IF;
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN '{"status":"stale"}'; END IF;
  keys := run_levels(workspace, run, 'agent_time');
  seen := lock_levels(workspace, 'agent_time', keys, slice_ms);
  -- Slices of a run are booked under its own row, which is locked by now: a repetition sees what the first one did.
  SELECT count(*), max(s.granted_ms) FILTER (WHERE s.n = booking_no) INTO booked, granted
    FROM (SELECT x.granted_ms, row_number() OVER (ORDER BY x.slice_no) AS n FROM time_slices x
      WHERE x.workspace_id = workspace AND x.run_id = run AND x.epoch = an_epoch) s;
  IF granted IS NOT NULL THEN RETURN jsonb_build_object('status', 'granted', 'ms', granted); END IF;
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
  INSERT INTO time_slices (workspace_id, run_id, slice_no, epoch, granted_ms, levels) VALUES (workspace, run, line.slice_no, an_epoch, granted, seen_levels(seen));
  line.kind := 'agent_time';
  line.run_id := run;
  PERFORM book(workspace, 'agent_time', keys, 0, granted, line);
  RETURN jsonb_build_object('status', 'granted', 'ms', granted);
END
$$;

-- Gives unused time back to the slices of this epoch, newest first, and never more than they took. Also after the run
-- has parked or ended, as long as no later epoch began: who stops a task should not pay for time that was not used.
CREATE FUNCTION return_agent_time(workspace text, run text, an_epoch int, unused_ms bigint) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  rest bigint := unused_ms;
  s time_slices;
  part bigint;
  line ledger_lines;
BEGIN
  IF NOT coalesce(unused_ms > 0, false) THEN RETURN false; END IF;
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch
    AND (r.state IN ('parked', 'ended') OR (r.state = 'claimed' AND r.lease_until > clock_now())) FOR SHARE;
  IF NOT FOUND THEN RETURN false; END IF;
  -- Slices of a run are booked under its own row.
  PERFORM 1 FROM budgets b WHERE b.workspace_id = workspace AND b.meter = 'agent_time' AND b.level = 'run' AND b.scope_id = run AND b.period = 'all' FOR UPDATE;
  IF (SELECT coalesce(sum(x.granted_ms - x.returned_ms), 0) FROM time_slices x WHERE x.workspace_id = workspace AND x.run_id = run AND x.epoch = an_epoch) < unused_ms THEN
    RETURN false;
  END IF;
  line.kind := 'agent_time_returned';
  line.run_id := run;
  FOR s IN SELECT * FROM time_slices x WHERE x.workspace_id = workspace AND x.run_id = run AND x.epoch = an_epoch AND x.returned_ms < x.granted_ms ORDER BY x.slice_no DESC LOOP
    EXIT WHEN rest = 0;
    part := least(rest, s.granted_ms - s.returned_ms);
    line.slice_no := s.slice_no;
    UPDATE time_slices x SET returned_ms = x.returned_ms + part WHERE x.workspace_id = workspace AND x.run_id = run AND x.slice_no = s.slice_no;
    PERFORM book(workspace, 'agent_time', level_keys(s.levels), 0, -part, line);
    rest := rest - part;
  END LOOP;
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
  PERFORM pg_advisory_xact_lock(limit_lock(workspace, a_meter, a_level, scope));
  SELECT coalesce(max(l.version), 0) + 1 INTO next_version FROM limits l
    WHERE l.workspace_id = workspace AND l.meter = a_meter AND l.level = a_level AND l.scope_id = scope;
  INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by) VALUES (workspace, a_meter, a_level, scope, next_version, new_amount, actor);
  -- 'all' sorts after every month. Periods that are over keep the limit they had.
  UPDATE budgets b SET limit_version = next_version, limit_amount = new_amount
    WHERE b.workspace_id = workspace AND b.meter = a_meter AND b.level = a_level AND b.scope_id = scope
      AND b.period >= to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM');
  RETURN next_version;
END
$$;

-- A new limit of a billing account or of the whole installation. Unused chunks return to the shared row, so that a
-- lower limit holds from the next admission on. NULL is no limit.
CREATE FUNCTION set_top_limit(a_level text, scope text, a_meter text, new_amount bigint, actor text) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  since text := to_char(clock_now() AT TIME ZONE 'UTC', CASE a_level WHEN 'platform' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM' END);
  next_version int;
BEGIN
  PERFORM pg_advisory_xact_lock(limit_lock('', a_meter, a_level, scope));
  SELECT coalesce(max(l.version), 0) + 1 INTO next_version FROM top_limits l WHERE l.level = a_level AND l.scope_id = scope AND l.meter = a_meter;
  INSERT INTO top_limits (level, scope_id, meter, version, amount, changed_by) VALUES (a_level, scope, a_meter, next_version, new_amount, actor);
  PERFORM 1 FROM (SELECT 1 FROM budgets b WHERE b.level = a_level AND b.scope_id = scope AND b.meter = a_meter AND b.period >= since AND b.level IN ('owner', 'platform')
    ORDER BY b.workspace_id, b.period FOR UPDATE) locked;
  UPDATE budgets b SET limit_version = next_version, limit_amount = CASE WHEN new_amount IS NOT NULL THEN b.posted + b.held END
    WHERE b.level = a_level AND b.scope_id = scope AND b.meter = a_meter AND b.period >= since AND b.level IN ('owner', 'platform');
  IF new_amount IS NOT NULL THEN
    INSERT INTO top_budgets AS t (level, scope_id, meter, period, limit_amount, granted)
      SELECT a_level, scope, a_meter, b.period, new_amount, sum(b.limit_amount) FROM budgets b
        WHERE b.level = a_level AND b.scope_id = scope AND b.meter = a_meter AND b.period >= since AND b.level IN ('owner', 'platform') GROUP BY b.period
      ON CONFLICT (level, scope_id, meter, period) DO UPDATE SET limit_amount = excluded.limit_amount, granted = excluded.granted;
  END IF;
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
-- Callers ask for one hold at a time: two of them could not lock all their levels from leaf to root.
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
      WHERE x.state IN ('HELD', 'DISPATCHED') AND ((x.state = 'HELD' AND x.held_at < clock_now() - held_for)
        OR (x.state = 'DISPATCHED' AND NOT EXISTS (SELECT 1 FROM processes p WHERE p.id = x.owner_id AND p.seen_at > clock_now() - dead_after)))
      ORDER BY x.held_at LIMIT at_most FOR UPDATE SKIP LOCKED
  LOOP
    IF settle(jsonb_build_object('workspace_id', h.workspace_id, 'hold_id', h.id, 'outcome', CASE h.state WHEN 'HELD' THEN 'void' ELSE 'provisional' END))->>'status' = 'done' THEN
      IF h.state = 'HELD' THEN voided := voided + 1; ELSE provisional := provisional + 1; END IF;
    END IF;
  END LOOP;
  DELETE FROM processes p WHERE p.seen_at < clock_now() - interval '1 day';
  RETURN NEXT;
END
$$;

GRANT EXECUTE ON FUNCTION limit_lock(text, text, text, text), seen_levels(budgets[]), refusal(budgets[], bigint), level_keys(jsonb),
  book(text, text, budget_key[], bigint, bigint, ledger_lines) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION mark_undelivered(text, text, int, text, text) TO guildhall_ledger;
GRANT EXECUTE ON FUNCTION set_top_limit(text, text, text, bigint, text) TO guildhall_platform;
