-- Limits are versioned rows: a change is a new version, so that every hold can name the one it saw.
-- amount: nano-USD for model_cost, milliseconds for agent_time, a count otherwise; NULL is no limit.
CREATE TABLE limits (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  meter text NOT NULL CHECK (meter IN ('model_cost', 'agent_time', 'concurrent_tasks', 'api_requests', 'members')),
  level text NOT NULL CHECK (level IN ('task', 'agent', 'key', 'workspace')),
  scope_id text COLLATE "C" NOT NULL,
  version int NOT NULL,
  amount bigint CHECK (amount >= 0),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, meter, level, scope_id, version)
);
CALL make_tenant_table('limits', 'SELECT', 'SELECT, INSERT', 'SELECT, INSERT');
CREATE TRIGGER slots_changed AFTER INSERT ON limits FOR EACH ROW WHEN (NEW.meter = 'concurrent_tasks') EXECUTE FUNCTION note_slot_change();

-- The balance of one budget level and period. period: 'all', a UTC month '2026-11', or a UTC day '2026-11-23'.
-- The level 'overrun' is the platform's own account: what a provider charged beyond a hold.
-- Of this table, holds and ledger_lines only the amounts are checked at each row: every check is read and planned anew by
-- each statement, and all there were took a tenth of what Postgres does for a call. Only the ledger's functions write here,
-- and `verify` finds what has no possible shape.
-- Holds and lines name it by its id: six numbers instead of six times five texts. Made only by open_budgets, for spenders
-- that it has read; so neither this nor spend_paths has a foreign key to the workspace (see the outbox).
CREATE TABLE budgets (
  workspace_id text COLLATE "C" NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  meter text NOT NULL,
  level text NOT NULL,
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  -- The order in which rows are locked: leaf first, a task before the task above it (level_rank).
  rank smallint NOT NULL,
  -- Of a run: the number of its last call.
  calls int NOT NULL DEFAULT 0,
  limit_version int NOT NULL DEFAULT 0,
  limit_amount bigint,
  posted bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  CHECK (posted >= 0 AND held >= 0),
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, meter, level, scope_id, period)
  -- Half empty, so that a new version of a busy row finds room beside the old one and no index has to be told.
) WITH (fillfactor = 50);
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

-- The balances that a spender (a run or an API key) counts against on a day, leaf first, so that only its first call
-- of the day has to look for them.
CREATE TABLE spend_paths (
  workspace_id text COLLATE "C" NOT NULL,
  spender_id text COLLATE "C" NOT NULL,
  meter text NOT NULL,
  day text COLLATE "C" NOT NULL,
  budget_ids bigint[] NOT NULL,
  PRIMARY KEY (workspace_id, spender_id, meter)
);
CALL make_tenant_table('spend_paths', 'SELECT', 'SELECT, INSERT, UPDATE');

-- One row per upstream attempt, of a run or of an API key. `budget_ids` are the levels that it counts against, leaf
-- first; the four arrays beside it are what it saw at each of them.
CREATE TABLE holds (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  -- Its run exists because its lease was checked; one check less for each hold.
  run_id text COLLATE "C",
  api_key_id text COLLATE "C",
  -- NULL for an API key: nobody repeats its calls, so nobody needs their numbers.
  call_no int,
  attempt_no int NOT NULL,
  epoch int,
  owner_id text COLLATE "C" NOT NULL,
  -- HELD, DISPATCHED, SETTLED, PROVISIONAL or VOID.
  state text NOT NULL,
  model text NOT NULL,
  price_version text NOT NULL,
  amount bigint NOT NULL,
  max_tokens int NOT NULL,
  budget_ids bigint[] NOT NULL,
  seen_versions int[] NOT NULL,
  seen_limits bigint[] NOT NULL,
  seen_posted bigint[] NOT NULL,
  seen_held bigint[] NOT NULL,
  posted bigint,
  overrun bigint NOT NULL DEFAULT 0,
  usage jsonb,
  held_at timestamptz NOT NULL DEFAULT clock_now(),
  dispatched_at timestamptz,
  settled_at timestamptz,
  CHECK (amount > 0 AND posted BETWEEN 0 AND amount AND overrun >= 0),
  PRIMARY KEY (workspace_id, id)
);
-- Partial, so that nobody who looks for a hold by its id can be led here. No index by time: ids are in its order.
CREATE UNIQUE INDEX holds_call ON holds (workspace_id, run_id, call_no, attempt_no) WHERE run_id IS NOT NULL;
CREATE INDEX holds_open ON holds (held_at) WHERE state IN ('HELD', 'DISPATCHED');
CALL make_tenant_table('holds', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Agent time that an attempt booked ahead (its run is locked then, so no foreign key), one row per slice, with what it saw as in holds. Unused time is given back
-- by the epoch that took it.
CREATE TABLE time_slices (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  slice_no int NOT NULL,
  epoch int NOT NULL,
  granted_ms bigint NOT NULL CHECK (granted_ms > 0),
  returned_ms bigint NOT NULL DEFAULT 0 CHECK (returned_ms BETWEEN 0 AND granted_ms),
  budget_ids bigint[] NOT NULL,
  seen_versions int[] NOT NULL,
  seen_limits bigint[] NOT NULL,
  seen_posted bigint[] NOT NULL,
  seen_held bigint[] NOT NULL,
  granted_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, run_id, slice_no)
) WITH (fillfactor = 50);
CALL make_tenant_table('time_slices', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Append-only. A line books its amount on each of its accounts; the lines of an account sum to its `posted`. A
-- provisional charge is lowered by a new line. Only the ledger's functions write here, from rows that they have locked,
-- so that no line needs a check of what it names; `verify` finds one that names nothing.
CREATE TABLE ledger_lines (
  workspace_id text COLLATE "C" NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  meter text NOT NULL,
  -- settle, provisional, lowered, overrun, agent_time or agent_time_returned.
  kind text NOT NULL,
  amount bigint NOT NULL,
  budget_ids bigint[] NOT NULL,
  hold_id text COLLATE "C",
  run_id text COLLATE "C",
  slice_no int,
  at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX ledger_lines_once ON ledger_lines (workspace_id, hold_id, kind) WHERE hold_id IS NOT NULL;
CALL make_tenant_table('ledger_lines', 'SELECT', 'SELECT, INSERT');

-- The stored answer of a finished call, so that a later attempt of the same run that repeats the call pays nothing.
-- `body` is encrypted by the gateway. Its hold is locked when it is written; a foreign key would lock each once more, a
-- tenth of what Postgres has to do for a call. `verify` finds an answer without its hold.
CREATE TABLE journal (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  request_hash text COLLATE "C" NOT NULL,
  use_no int NOT NULL,
  hold_id text COLLATE "C" NOT NULL,
  -- Encrypted, so that nothing is won by trying to compress it.
  body bytea STORAGE EXTERNAL NOT NULL,
  taken_epoch int NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, run_id, request_hash, use_no)
);
-- To forget by age. Answers come in the order of their age, so it has a line for each hundred pages only.
CREATE INDEX journal_age ON journal USING brin (created_at);
CALL make_tenant_table('journal', 'SELECT', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE');
