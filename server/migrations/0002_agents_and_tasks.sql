CREATE TABLE agents (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  role text NOT NULL,
  traits text[] NOT NULL,
  voice text NOT NULL,
  system_prompt text NOT NULL,
  tools text[] NOT NULL,
  model text NOT NULL,
  desk int NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, id)
);
CALL make_tenant_table('agents', 'SELECT, INSERT, UPDATE', 'SELECT', 'SELECT, INSERT');

-- A set of files that arrived together. Contents lie in the file store under their SHA-256.
CREATE TABLE uploads (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  id text COLLATE "C" NOT NULL,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, id)
);
CALL make_tenant_table('uploads', 'SELECT, INSERT');

CREATE TABLE upload_files (
  workspace_id text COLLATE "C" NOT NULL,
  upload_id text COLLATE "C" NOT NULL,
  path text NOT NULL,
  size_bytes bigint NOT NULL,
  sha256 text NOT NULL,
  PRIMARY KEY (workspace_id, upload_id, path),
  FOREIGN KEY (workspace_id, upload_id) REFERENCES uploads
);
CALL make_tenant_table('upload_files', 'SELECT, INSERT');

CREATE TABLE tasks (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  id text COLLATE "C" NOT NULL,
  agent_id text COLLATE "C" NOT NULL,
  title text NOT NULL,
  prompt text NOT NULL,
  upload_id text COLLATE "C",
  parent_task_id text COLLATE "C",
  root_task_id text COLLATE "C" NOT NULL,
  depth int NOT NULL DEFAULT 0,
  -- Idempotency key of the tool call that delegated it: executing the call again finds this task instead of making one.
  delegation_key text COLLATE "C",
  priority int NOT NULL DEFAULT 0,
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'waiting', 'paused', 'succeeded', 'failed', 'cancelled')),
  -- Why it failed: attempts_exhausted, time_limit, call_limit, loop, agent_error, ...
  cause text,
  -- For waiting and paused: which limit or whom it waits for, and when it wakes; the stored wake-up condition.
  parked jsonb,
  result text,
  cost_limit_nano_usd bigint NOT NULL CHECK (cost_limit_nano_usd > 0),
  wall_time_limit_ms bigint NOT NULL CHECK (wall_time_limit_ms > 0),
  agent_time_limit_ms bigint NOT NULL CHECK (agent_time_limit_ms > 0),
  model_call_limit int NOT NULL CHECK (model_call_limit > 0),
  tool_call_limit int NOT NULL CHECK (tool_call_limit > 0),
  created_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  started_at timestamptz,
  ended_at timestamptz,
  cancel_requested_at timestamptz,
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
  CHECK ((state IN ('waiting', 'paused')) = (parked IS NOT NULL)),
  PRIMARY KEY (workspace_id, id),
  FOREIGN KEY (workspace_id, agent_id) REFERENCES agents,
  FOREIGN KEY (workspace_id, upload_id) REFERENCES uploads,
  FOREIGN KEY (workspace_id, parent_task_id) REFERENCES tasks (workspace_id, id)
  -- Half empty, so that the versions at begin and end find room beside the first one.
) WITH (fillfactor = 50);
-- By what changes only when a task parks: an index that is by its state would be told of each begin and end.
CREATE INDEX tasks_parked ON tasks (workspace_id) WHERE parked IS NOT NULL;
-- Who may go on when a limit leaves more, or a model has a price. In an order that no other index has, so that no plan
-- which was made while the table was small can lead through tasks that are not paused.
CREATE INDEX tasks_limited ON tasks (workspace_id, created_at, id) WHERE parked->>'kind' IN ('limit', 'suspended');
CREATE INDEX tasks_unpriced ON tasks (workspace_id, created_at, id) WHERE parked->>'kind' = 'unpriced';
CREATE INDEX tasks_parent ON tasks (workspace_id, parent_task_id) WHERE parent_task_id IS NOT NULL;
-- Partial, so that a task which is nobody's child is in none of these, and nobody who looks for one by its id can be led
-- there while the table is small.
CREATE UNIQUE INDEX tasks_delegation ON tasks (workspace_id, delegation_key) WHERE delegation_key IS NOT NULL;
CREATE INDEX tasks_root ON tasks (workspace_id, root_task_id) WHERE depth > 0;
CALL make_tenant_table('tasks', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE');

-- One execution of a task. `epoch` is the fencing token: it grows with each claim, and every write names it.
-- `slot_no` is held from the claim until the run parks or ends, and kept by a run that is handed over or gets it from
-- another one (admitted); two runs of a workspace never share one. Made by the
-- statement that makes its task, and each has a new version three times at least; so no foreign key, which some of those would check (verify does).
CREATE TABLE runs (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'admitted', 'claimed', 'parked', 'ended')),
  slot_no int CHECK (slot_no > 0),
  epoch int NOT NULL DEFAULT 0,
  -- Leases lost since the run last parked of its own accord.
  failed_attempts int NOT NULL DEFAULT 0,
  worker_id text,
  lease_until timestamptz,
  wake_at timestamptz,
  -- That of its task.
  priority int NOT NULL DEFAULT 0,
  queued_at timestamptz NOT NULL DEFAULT clock_now(),
  -- Whose turn it is within a workspace, the earliest first (run_turn).
  turn_at timestamptz NOT NULL,
  ended_at timestamptz,
  CHECK ((state IN ('admitted', 'claimed')) = (slot_no IS NOT NULL)),
  CHECK ((state = 'claimed') = (lease_until IS NOT NULL)),
  CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
  PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX runs_slot ON runs (workspace_id, slot_no) WHERE slot_no IS NOT NULL;
CREATE UNIQUE INDEX runs_task ON runs (workspace_id, task_id);
CREATE INDEX runs_queued ON runs (workspace_id, turn_at, id) WHERE state = 'queued';
CREATE INDEX runs_admitted ON runs (workspace_id, turn_at, id) WHERE state = 'admitted';
CREATE INDEX runs_lease ON runs (lease_until) WHERE state = 'claimed';
CREATE INDEX runs_wake ON runs (wake_at) WHERE state = 'parked' AND wake_at IS NOT NULL;
CREATE INDEX runs_wake_by_workspace ON runs (workspace_id, wake_at) WHERE state = 'parked' AND wake_at IS NOT NULL;
CALL make_tenant_table('runs', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE');

-- A level of priority is worth ten minutes of waiting: a run waits at most that much longer for each level that others
-- are above it, so what is urgent goes first and nothing waits for ever. As one stored moment, so that an index has the order.
CREATE FUNCTION run_turn() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  NEW.turn_at := NEW.queued_at - NEW.priority * interval '10 minutes';
  RETURN NEW;
END
$$;
CREATE TRIGGER run_turn BEFORE INSERT OR UPDATE OF queued_at, priority ON runs FOR EACH ROW EXECUTE FUNCTION run_turn();

-- Workspaces in which a queued run may be able to start since somebody looked: a run is queued, a slot is free, the number of
-- slots changed. Only inserted by whom it happens to, so that nobody waits for a lock; taken out by open_queues. Without a
-- foreign key, like the outbox.
CREATE TABLE slot_changes (
  workspace_id text COLLATE "C" NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX slot_changes_in_order ON slot_changes (id);
CALL make_tenant_table('slot_changes', 'INSERT', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT, INSERT');

CREATE FUNCTION note_slot_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  INSERT INTO slot_changes (workspace_id) VALUES (NEW.workspace_id);
  RETURN NULL;
END
$$;
CREATE TRIGGER run_created AFTER INSERT ON runs FOR EACH ROW WHEN (NEW.state = 'queued') EXECUTE FUNCTION note_slot_change();
CREATE TRIGGER run_queued AFTER UPDATE OF state ON runs FOR EACH ROW WHEN (NEW.state = 'queued' AND OLD.state <> 'queued') EXECUTE FUNCTION note_slot_change();
CREATE TRIGGER run_left_slot AFTER UPDATE OF slot_no ON runs FOR EACH ROW WHEN (NEW.slot_no IS NULL AND OLD.slot_no IS NOT NULL) EXECUTE FUNCTION note_slot_change();

-- Whose turn it is among workspaces: those that are ready have a run that a worker can claim (one that kept its slot, or a
-- queued one while a slot is free), and the one with the
-- lowest pass comes first. See `claim` for how it grows.
CREATE TABLE run_queues (
  workspace_id text COLLATE "C" PRIMARY KEY,
  ready boolean NOT NULL DEFAULT false,
  -- When it last became so: what waited before waited for a slot.
  ready_since timestamptz NOT NULL DEFAULT clock_now(),
  pass bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX run_queues_ready ON run_queues (pass, workspace_id) WHERE ready;
CREATE INDEX run_queues_pass ON run_queues (pass);
CALL make_tenant_table('run_queues', 'SELECT', 'SELECT, INSERT, UPDATE');

-- A workspace that was not ready comes in at the pass of whoever is next, or later when it was ahead of it: who rests
-- saves up nothing, and nobody gains by coming back again and again.
CREATE FUNCTION make_ready(workspace_ids text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  -- Under the rows' locks, for a claim may be about to say that there is nothing more. No new version of the row of one
  -- that is ready.
  WITH locked AS MATERIALIZED (
    SELECT q.workspace_id, q.ready FROM run_queues q WHERE q.workspace_id = ANY (workspace_ids) ORDER BY q.workspace_id FOR NO KEY UPDATE)
  INSERT INTO run_queues AS q (workspace_id, ready, pass)
    SELECT w, true, coalesce((SELECT x.pass FROM run_queues x WHERE x.ready ORDER BY x.pass LIMIT 1), (SELECT max(x.pass) FROM run_queues x), 0)
      FROM unnest(workspace_ids) w WHERE NOT EXISTS (SELECT FROM locked l WHERE l.workspace_id = w AND l.ready) ORDER BY w COLLATE "C"
    ON CONFLICT (workspace_id) DO UPDATE SET ready = true, ready_since = CASE WHEN q.ready THEN q.ready_since ELSE excluded.ready_since END,
      pass = CASE WHEN q.ready THEN q.pass ELSE greatest(q.pass, excluded.pass) END;
END
$$;

CREATE FUNCTION note_run_ready() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM make_ready(ARRAY[NEW.workspace_id]);
  RETURN NULL;
END
$$;
CREATE TRIGGER run_ready AFTER UPDATE OF state ON runs FOR EACH ROW WHEN (NEW.state = 'admitted' AND OLD.state <> 'admitted') EXECUTE FUNCTION note_run_ready();

-- One worker's try of a run. The run token is valid exactly as long as this attempt holds the lease.
CREATE TABLE attempts (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  epoch int NOT NULL,
  worker_id text NOT NULL,
  token_hash text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_now(),
  ended_at timestamptz,
  end_reason text,
  PRIMARY KEY (workspace_id, run_id, epoch)
  -- Half empty, so that its end finds room beside its beginning and no index has to be told. Its run is locked by then: no
  -- foreign key.
) WITH (fillfactor = 50);
CREATE INDEX attempts_recent ON attempts (workspace_id, started_at);
CALL make_tenant_table('attempts', 'SELECT, INSERT, UPDATE', 'SELECT, INSERT, UPDATE');

-- Attempts that somebody ended while a worker had them. What they had booked of agent time and not used comes back once: by
-- the worker, who takes the row out, or when it has not by `due_at`, for it is dead, by return_cancelled_time.
CREATE TABLE cancelled_attempts (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  epoch int NOT NULL,
  due_at timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, run_id, epoch)
);
CREATE INDEX cancelled_attempts_due ON cancelled_attempts (due_at);
CALL make_tenant_table('cancelled_attempts', 'INSERT', 'SELECT, INSERT, UPDATE, DELETE');

-- What a resumed run starts from: each model response and each tool result is stored before the next step begins.
CREATE TABLE steps (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  step_no int NOT NULL,
  epoch int NOT NULL,
  kind text NOT NULL CHECK (kind IN ('model', 'tool')),
  state text NOT NULL CHECK (state IN ('started', 'done', 'unknown')),
  -- model: {content, stop_reason, usage, hold_id}; tool: {tool_use_id, name, input, content?, is_error?, parked?}
  body jsonb NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_now(),
  ended_at timestamptz,
  PRIMARY KEY (workspace_id, run_id, step_no),
  FOREIGN KEY (workspace_id, run_id) REFERENCES runs
);
CALL make_tenant_table('steps', 'SELECT, INSERT, UPDATE');

-- A stream is a task (and its runs), or the workspace itself. Sequence numbers are given under the stream's row, so
-- they are dense, and no late commit appears below a number that a reader has seen. So each event has its stream, and a
-- stream is made with its task: no foreign keys.
CREATE TABLE streams (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  last_seq bigint NOT NULL DEFAULT 0,
  closed boolean NOT NULL DEFAULT false,
  PRIMARY KEY (workspace_id, id)
);
CALL make_tenant_table('streams', 'SELECT, INSERT, UPDATE', 'SELECT, INSERT, UPDATE');

CREATE TABLE events (
  workspace_id text COLLATE "C" NOT NULL,
  stream_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  type text NOT NULL,
  data jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_now(),
  position bigint GENERATED ALWAYS AS IDENTITY,
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (workspace_id, stream_id, seq)
);
CREATE INDEX events_position ON events (position);
CALL make_tenant_table('events', 'SELECT, INSERT', 'SELECT, INSERT');

CREATE TABLE artifacts (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  path text NOT NULL,
  size_bytes bigint NOT NULL,
  sha256 text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, task_id, path),
  FOREIGN KEY (workspace_id, task_id) REFERENCES tasks,
  FOREIGN KEY (workspace_id, run_id) REFERENCES runs
);
CALL make_tenant_table('artifacts', 'SELECT, INSERT, UPDATE');

-- Durable mail between agents. One row is one delivery: it is in exactly one inbox, and read at most once.
CREATE TABLE messages (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  thread_id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  from_agent_id text COLLATE "C" NOT NULL,
  to_agent_id text COLLATE "C" NOT NULL,
  subject text NOT NULL,
  body text NOT NULL,
  -- How many messages led to this one: its sender had read a message with one hop less.
  hops int NOT NULL DEFAULT 0,
  idempotency_key text NOT NULL,
  sent_at timestamptz NOT NULL DEFAULT clock_now(),
  read_at timestamptz,
  read_by_task_id text COLLATE "C",
  -- Idempotency key of the tool call that read it: executing the call again answers the same messages.
  read_key text COLLATE "C",
  CHECK ((read_at IS NULL) = (read_by_task_id IS NULL) AND (read_at IS NULL) = (read_key IS NULL)),
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, idempotency_key),
  FOREIGN KEY (workspace_id, task_id) REFERENCES tasks,
  FOREIGN KEY (workspace_id, from_agent_id) REFERENCES agents,
  FOREIGN KEY (workspace_id, to_agent_id) REFERENCES agents
);
CREATE INDEX messages_inbox ON messages (workspace_id, to_agent_id, sent_at) WHERE read_at IS NULL;
CREATE INDEX messages_task ON messages (workspace_id, task_id);
CREATE INDEX messages_reader ON messages (workspace_id, read_by_task_id) WHERE read_by_task_id IS NOT NULL;
CALL make_tenant_table('messages', 'SELECT, INSERT, UPDATE');

-- What an agent asked a person. The task waits until it is answered.
CREATE TABLE questions (
  workspace_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  question text NOT NULL,
  idempotency_key text NOT NULL,
  asked_at timestamptz NOT NULL DEFAULT clock_now(),
  answer text,
  answered_by text,
  answered_at timestamptz,
  PRIMARY KEY (workspace_id, id),
  UNIQUE (workspace_id, idempotency_key),
  FOREIGN KEY (workspace_id, task_id) REFERENCES tasks
);
CALL make_tenant_table('questions', 'SELECT, INSERT, UPDATE');
