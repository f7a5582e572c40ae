-- Lock order of everything here: question, workspace, runs (a parent's before its child's), task, stream. One order
-- everywhere, so that two transactions never wait for each other; what still meets is retried by its caller.

-- Appends one event under its stream's row. A closed stream takes no more: nothing follows a terminal event.
CREATE FUNCTION append_event(workspace text, stream text, event_type text, event_data jsonb) RETURNS bigint
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  next_seq bigint;
BEGIN
  INSERT INTO streams (workspace_id, id) VALUES (workspace, stream) ON CONFLICT DO NOTHING;
  UPDATE streams s SET last_seq = s.last_seq + 1 WHERE s.workspace_id = workspace AND s.id = stream AND NOT s.closed RETURNING s.last_seq INTO next_seq;
  IF next_seq IS NULL THEN RAISE EXCEPTION 'stream % is closed', stream USING ERRCODE = 'GH003'; END IF;
  INSERT INTO events (workspace_id, stream_id, seq, type, data) VALUES (workspace, stream, next_seq, event_type, event_data);
  RETURN next_seq;
END
$$;
GRANT EXECUTE ON FUNCTION append_event TO guildhall_app;

-- Appends one event to each of several task streams, each named once; closing: it is the last one. Their runs are locked.
-- Plans are kept per connection, also those of when the tables were small; so only ones that follow an index are made.
CREATE FUNCTION append_events(workspace_ids text[], stream_ids text[], event_types text[], event_data jsonb[], closing boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  appended int;
BEGIN
  WITH numbered AS (
    UPDATE streams s SET last_seq = s.last_seq + 1, closed = closing FROM unnest(workspace_ids, stream_ids, event_types, event_data) e(workspace_id, stream_id, type, data)
      WHERE s.workspace_id = e.workspace_id AND s.id = e.stream_id AND NOT s.closed RETURNING e.workspace_id, e.stream_id, s.last_seq, e.type, e.data)
  INSERT INTO events (workspace_id, stream_id, seq, type, data) SELECT n.workspace_id, n.stream_id, n.last_seq, n.type, n.data FROM numbered n;
  GET DIAGNOSTICS appended = ROW_COUNT;
  IF appended <> cardinality(stream_ids) THEN RAISE EXCEPTION 'one of the streams % is closed', stream_ids USING ERRCODE = 'GH003'; END IF;
END
$$;

-- Appends events of a run, fenced: only the attempt that holds the lease can. events: [{type, data}, ...]
-- -> the sequence number of the last one, or NULL when the attempt is stale.
CREATE FUNCTION append_run_events(run text, an_epoch int, new_events jsonb) RETURNS bigint
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  task text;
  last bigint;
BEGIN
  SELECT r.task_id INTO task FROM runs r
    WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  UPDATE streams s SET last_seq = s.last_seq + jsonb_array_length(new_events)
    WHERE s.workspace_id = workspace AND s.id = task AND NOT s.closed RETURNING s.last_seq INTO last;
  IF last IS NULL THEN RETURN NULL; END IF;
  INSERT INTO events (workspace_id, stream_id, seq, type, data)
    SELECT workspace, task, last - jsonb_array_length(new_events) + n, e->>'type', e->'data' FROM jsonb_array_elements(new_events) WITH ORDINALITY x(e, n);
  RETURN last;
END
$$;
GRANT EXECUTE ON FUNCTION append_run_events TO guildhall_app;

-- Stores one step of a run together with the events that tell of it, fenced like those.
-- -> 'stored' | 'repeated' (this attempt had stored just this before, and its answer was lost) | 'stale'
CREATE FUNCTION record_step(run text, an_epoch int, a_step_no int, a_kind text, a_state text, a_body jsonb, new_events jsonb) RETURNS text
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
BEGIN
  PERFORM 1 FROM steps s WHERE s.workspace_id = workspace AND s.run_id = run AND s.step_no = a_step_no AND s.epoch = an_epoch AND s.state = a_state AND s.body = a_body;
  -- Also then: with the step its caller writes what belongs to it, which a later attempt may have replaced.
  IF FOUND THEN RETURN CASE WHEN append_run_events(run, an_epoch, '[]') IS NULL THEN 'stale' ELSE 'repeated' END; END IF;
  IF append_run_events(run, an_epoch, new_events) IS NULL THEN RETURN 'stale'; END IF;
  INSERT INTO steps AS s (workspace_id, run_id, step_no, epoch, kind, state, body, ended_at)
    VALUES (workspace, run, a_step_no, an_epoch, a_kind, a_state, a_body, CASE WHEN a_state <> 'started' THEN clock_now() END)
    ON CONFLICT (workspace_id, run_id, step_no) DO UPDATE SET epoch = excluded.epoch, state = excluded.state, body = excluded.body, ended_at = excluded.ended_at
      WHERE s.kind = excluded.kind AND (s.state = 'started' OR s.state = 'unknown' AND excluded.state = 'unknown' AND NOT s.body ? 'content');
  IF NOT FOUND THEN RAISE EXCEPTION 'step % of run % is already done', a_step_no, run USING ERRCODE = 'GH004'; END IF;
  RETURN 'stored';
END
$$;
GRANT EXECUTE ON FUNCTION record_step TO guildhall_app;

-- How many runs of a workspace may have a slot at once; its limit may say more than there are slots.
CREATE FUNCTION slots_of(workspace text) RETURNS int
  LANGUAGE plpgsql STABLE SET search_path = public, pg_temp
AS $$
BEGIN
  RETURN least(coalesce((SELECT x.amount FROM limits x
    WHERE x.workspace_id = workspace AND x.meter = 'concurrent_tasks' AND x.level = 'workspace' AND x.scope_id = workspace ORDER BY x.version DESC LIMIT 1), 256), 256);
END
$$;

-- Makes a parked run claimable again. A child that ends passes its slot back, so its parent need not queue for one; but not a
-- slot beyond a limit that was lowered meanwhile: a parent and its children would keep it for ever.
CREATE FUNCTION wake_run(workspace text, task text, handed_slot int DEFAULT NULL) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  slot int := CASE WHEN handed_slot IS NULL THEN NULL WHEN handed_slot <= slots_of(workspace) THEN handed_slot END;
BEGIN
  UPDATE runs r SET state = CASE WHEN slot IS NULL THEN 'queued' ELSE 'admitted' END, slot_no = slot, wake_at = NULL, queued_at = clock_now()
    WHERE r.workspace_id = workspace AND r.task_id = task AND r.state = 'parked';
  IF NOT FOUND THEN RETURN false; END IF;
  INSERT INTO outbox (workspace_id, topic, payload) VALUES (workspace, 'run.ready', jsonb_build_object('task_id', task));
  RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION wake_run TO guildhall_app;

-- The one way a task ends: task, run, attempt, event, slot and waiting parent in one transaction. An open child ends
-- with its parent, for nobody is left to read its result. -> false when it had ended before.
CREATE FUNCTION end_task(workspace text, task text, end_state text, end_cause text, end_result text, event_data jsonb) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  moment timestamptz := clock_now();
  parent text;
  slot int;
  child record;
BEGIN
  SELECT t.parent_task_id INTO parent FROM tasks t WHERE t.workspace_id = workspace AND t.id = task;
  IF parent IS NOT NULL THEN
    PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.task_id = parent AND r.state <> 'ended' FOR UPDATE;
  END IF;
  SELECT r.slot_no INTO slot FROM runs r WHERE r.workspace_id = workspace AND r.task_id = task AND r.state <> 'ended' FOR UPDATE;
  UPDATE tasks t SET state = end_state, cause = end_cause, result = end_result, parked = NULL, ended_at = moment
    WHERE t.workspace_id = workspace AND t.id = task AND t.state NOT IN ('succeeded', 'failed', 'cancelled');
  IF NOT FOUND THEN RETURN false; END IF;
  UPDATE attempts a SET ended_at = moment, end_reason = end_state FROM runs r
    WHERE r.workspace_id = workspace AND r.task_id = task AND r.state = 'claimed' AND a.workspace_id = workspace AND a.run_id = r.id AND a.epoch = r.epoch AND a.ended_at IS NULL;
  IF FOUND AND end_state = 'cancelled' THEN
    -- A minute for the worker, counted from when it has stopped at the latest.
    INSERT INTO cancelled_attempts (workspace_id, run_id, epoch, due_at) SELECT workspace, r.id, r.epoch, r.lease_until + interval '1 minute'
      FROM runs r WHERE r.workspace_id = workspace AND r.task_id = task AND r.state = 'claimed';
    -- Whoever ends the parent, with its lease or without, does not know who executes the child.
    IF end_cause = 'parent_ended' THEN
      INSERT INTO outbox (workspace_id, topic, payload) VALUES (workspace, 'task.ended', jsonb_build_object('task_id', task));
    END IF;
  END IF;
  UPDATE runs r SET state = 'ended', slot_no = NULL, lease_until = NULL, wake_at = NULL, ended_at = moment
    WHERE r.workspace_id = workspace AND r.task_id = task AND r.state <> 'ended';
  PERFORM append_event(workspace, task, 'task.' || end_state, event_data);
  UPDATE streams s SET closed = true WHERE s.workspace_id = workspace AND s.id = task;
  FOR child IN SELECT t.id FROM tasks t WHERE t.workspace_id = workspace AND t.parent_task_id = task AND t.ended_at IS NULL LOOP
    PERFORM end_task(workspace, child.id, 'cancelled', 'parent_ended', NULL, jsonb_build_object('cause', 'parent_ended'));
  END LOOP;
  IF parent IS NOT NULL THEN
    PERFORM 1 FROM tasks p WHERE p.workspace_id = workspace AND p.id = parent AND p.state = 'waiting' AND p.parked->>'child_task_id' = task;
    IF FOUND THEN PERFORM wake_run(workspace, parent, slot); END IF;
  END IF;
  IF slot IS NOT NULL THEN
    INSERT INTO outbox (workspace_id, topic, payload) VALUES (workspace, 'slot.free', jsonb_build_object('task_id', task));
  END IF;
  RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION end_task TO guildhall_app;

-- Locks the run of the attempt that holds its lease, its parent's before it. -> NULL when the attempt is stale
CREATE FUNCTION lock_lease(run text, an_epoch int) RETURNS runs
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  parent text;
  r runs;
BEGIN
  SELECT t.parent_task_id INTO parent FROM runs x JOIN tasks t ON t.workspace_id = x.workspace_id AND t.id = x.task_id
    WHERE x.workspace_id = workspace AND x.id = run;
  IF parent IS NOT NULL THEN
    PERFORM 1 FROM runs p WHERE p.workspace_id = workspace AND p.task_id = parent AND p.state <> 'ended' FOR UPDATE;
  END IF;
  SELECT * INTO r FROM runs x WHERE x.workspace_id = workspace AND x.id = run AND x.epoch = an_epoch AND x.state = 'claimed' AND x.lease_until > clock_now() FOR UPDATE;
  RETURN r;
END
$$;
GRANT EXECUTE ON FUNCTION lock_lease TO guildhall_app;

-- The same for the attempt that executes the run: only while it holds the lease. -> false when it is stale.
CREATE FUNCTION finish_run(run text, an_epoch int, end_state text, end_cause text, end_result text, event_data jsonb) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  r runs := lock_lease(run, an_epoch);
BEGIN
  IF r.id IS NULL THEN RETURN false; END IF;
  RETURN end_task(r.workspace_id, r.task_id, end_state, end_cause, end_result, event_data);
END
$$;
GRANT EXECUTE ON FUNCTION finish_run TO guildhall_app;

-- A booking, or a return (unused_ms) of an attempt that may still give back. budget_ids NULL: not looked for yet.
CREATE TYPE asked_time AS (workspace_id text, run_id text, epoch int, booking_no int, slice_ms bigint, unused_ms bigint, budget_ids bigint[], n bigint);

CREATE TYPE ended_run AS (workspace_id text, run_id text, task_id text, epoch int, state text, data jsonb, unused_ms bigint, n bigint);

-- The same for many runs as one transaction. A task with a parent, or with children that have not ended, is left alone:
-- its end locks more, in an order that is not that of the others here.
-- ends: [{workspace_id, run_id, epoch, state, data, unused_ms}], each run once; data is the event's, with cause or result;
-- unused_ms: agent time that it gives back
-- -> place in ends from 1, 'ended' | 'stale' | 'family', and whether a run of its workspace waits for the slot. One that is
-- made at this moment may be overlooked; its own bell or the next look finds it.
CREATE FUNCTION finish_runs(ends json) RETURNS TABLE (place int, answer text, waited boolean)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  moment timestamptz := clock_now();
  ended ended_run[];
  families bigint[];
  unused asked_time[];
  waiting bigint[];
BEGIN
  SELECT array_agg(ROW(l.workspace_id, l.run_id, l.task_id, l.epoch, l.state, l.data, l.unused_ms, l.n)::ended_run ORDER BY l.n) INTO ended
    FROM (SELECT i.*, r.task_id
      FROM (SELECT * FROM ROWS FROM (json_to_recordset(ends) AS (workspace_id text, run_id text, epoch int, state text, data jsonb, unused_ms bigint)) WITH ORDINALITY
        i(workspace_id, run_id, epoch, state, data, unused_ms, n) ORDER BY i.workspace_id COLLATE "C", i.run_id COLLATE "C") i
        CROSS JOIN LATERAL (SELECT x.task_id FROM runs x
          WHERE x.workspace_id = i.workspace_id AND x.id = i.run_id AND x.epoch = i.epoch AND x.state = 'claimed' AND x.lease_until > clock_now() FOR UPDATE) r) l;
  IF coalesce(cardinality(ended), 0) < json_array_length(ends) THEN
    RETURN QUERY SELECT i::int, 'stale', false FROM generate_series(1, json_array_length(ends)) i WHERE NOT EXISTS (SELECT FROM unnest(ended) x WHERE x.n = i);
  END IF;
  -- What a run has delegated is known now: delegating needs its run's lock, too.
  SELECT coalesce(array_agg(x.n), '{}') INTO families FROM unnest(ended) x CROSS JOIN LATERAL (SELECT k.parent_task_id FROM tasks k WHERE k.workspace_id = x.workspace_id AND k.id = x.task_id OFFSET 0) t
    WHERE t.parent_task_id IS NOT NULL OR EXISTS (SELECT FROM tasks k WHERE k.workspace_id = x.workspace_id AND k.parent_task_id = x.task_id AND k.ended_at IS NULL OFFSET 0);
  IF cardinality(families) > 0 THEN
    RETURN QUERY SELECT n::int, 'family', false FROM unnest(families) n;
    ended := ARRAY(SELECT x FROM unnest(ended) x WHERE x.n <> ALL (families));
  END IF;
  IF coalesce(cardinality(ended), 0) = 0 THEN RETURN; END IF;
  UPDATE tasks t SET state = x.state, cause = x.data->>'cause', result = x.data->>'result', ended_at = moment FROM unnest(ended) x
    WHERE t.workspace_id = x.workspace_id AND t.id = x.task_id;
  UPDATE attempts a SET ended_at = moment, end_reason = x.state FROM unnest(ended) x WHERE a.workspace_id = x.workspace_id AND a.run_id = x.run_id AND a.epoch = x.epoch;
  UPDATE runs r SET state = 'ended', slot_no = NULL, lease_until = NULL, ended_at = moment FROM unnest(ended) x WHERE r.workspace_id = x.workspace_id AND r.id = x.run_id;
  PERFORM append_events(array_agg(x.workspace_id), array_agg(x.task_id), array_agg('task.' || x.state), array_agg(x.data), true) FROM unnest(ended) x;
  -- Where the queue is ready what waits has a slot without this one.
  waiting := ARRAY(SELECT x.n FROM unnest(ended) x WHERE (SELECT q.ready FROM run_queues q WHERE q.workspace_id = x.workspace_id) IS NOT TRUE
    AND (SELECT true FROM runs r WHERE r.workspace_id = x.workspace_id AND r.state = 'queued' LIMIT 1));
  IF cardinality(waiting) > 0 THEN
    INSERT INTO outbox (workspace_id, topic, payload) SELECT x.workspace_id, 'slot.free', jsonb_build_object('task_id', x.task_id) FROM unnest(ended) x WHERE x.n = ANY (waiting);
  END IF;
  RETURN QUERY SELECT x.n::int, 'ended', x.n = ANY (waiting) FROM unnest(ended) x;
  -- Last, for the balances are the busiest rows.
  unused := ARRAY(SELECT ROW(x.workspace_id, x.run_id, x.epoch, NULL, NULL, x.unused_ms, NULL, x.n)::asked_time FROM unnest(ended) x WHERE x.unused_ms > 0);
  IF cardinality(unused) > 0 THEN PERFORM give_times_back(unused); END IF;
END
$$;

-- Parks a run of its own accord: its slot is free at once, and the stored condition says what wakes it. It never
-- sleeps past the task's wall-clock limit: the worker that takes it then ends it.
-- A parent that waits for a child hands its slot to the child, so delegation works with one slot.
CREATE FUNCTION park_run(run text, an_epoch int, park_state text, park_reason jsonb, wake timestamptz, event_type text) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  r runs;
  deadline timestamptz;
  wake_at_once boolean := false;
BEGIN
  -- Who answers locks the question first, too. So either the answer is seen here, or its writer sees the parked run.
  IF park_reason ? 'question_id' THEN
    SELECT q.answered_at IS NOT NULL INTO wake_at_once FROM questions q WHERE q.workspace_id = workspace AND q.id = park_reason->>'question_id' FOR UPDATE;
  END IF;
  SELECT * INTO r FROM runs x WHERE x.workspace_id = workspace AND x.id = run AND x.epoch = an_epoch AND x.state = 'claimed' AND x.lease_until > clock_now() FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  UPDATE tasks t SET state = park_state, parked = park_reason WHERE t.workspace_id = workspace AND t.id = r.task_id
    RETURNING t.started_at + t.wall_time_limit_ms * interval '1 millisecond' INTO deadline;
  UPDATE runs x SET state = 'parked', slot_no = NULL, lease_until = NULL, wake_at = least(wake, deadline), failed_attempts = 0 WHERE x.workspace_id = workspace AND x.id = run;
  UPDATE attempts a SET ended_at = clock_now(), end_reason = park_state WHERE a.workspace_id = workspace AND a.run_id = run AND a.epoch = an_epoch;
  PERFORM append_event(workspace, r.task_id, event_type, park_reason);
  IF park_reason ? 'child_task_id' THEN
    UPDATE runs c SET state = 'admitted', slot_no = r.slot_no WHERE c.workspace_id = workspace AND c.task_id = park_reason->>'child_task_id' AND c.state = 'queued'
      AND r.slot_no <= slots_of(workspace);
    -- The child may have ended before its parent came to wait for it. Its end locks this run first, so it is over or yet to come.
    SELECT EXISTS (SELECT 1 FROM tasks c WHERE c.workspace_id = workspace AND c.id = park_reason->>'child_task_id' AND c.ended_at IS NOT NULL) INTO wake_at_once;
  END IF;
  IF wake_at_once THEN PERFORM wake_run(workspace, r.task_id); END IF;
  INSERT INTO outbox (workspace_id, topic, payload) VALUES (workspace, 'slot.free', jsonb_build_object('task_id', r.task_id));
  RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION park_run TO guildhall_app;

-- Looks in up to `at_most` workspaces in which something changed, the earliest changes first, and makes those ready that
-- have a queued run and a slot for it. One that another process is looking at is passed over, not waited for.
-- -> in how many it looked, and how many of them are ready
-- Plans are kept per connection, also those of when the tables were small; so only ones that follow an index are made.
CREATE FUNCTION open_queues(at_most int, OUT looked int, OUT opened int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
  SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  looked_at text[] := '{}';
  changed text[];
  served text[];
  startable text[];
  has_more boolean := true;
BEGIN
  opened := 0;
  WHILE has_more LOOP
    -- Takes out all changes that are there now, unless it is a flood. What happens from here on leaves a change of its own,
    -- and what those that are gone have told of is seen by the next statement.
    WITH head AS MATERIALIZED (SELECT x.workspace_id FROM slot_changes x WHERE x.workspace_id <> ALL (looked_at) ORDER BY x.id LIMIT 200),
    place AS MATERIALIZED (SELECT DISTINCT h.workspace_id FROM head h LIMIT at_most - cardinality(looked_at)),
    locked AS MATERIALIZED (
      SELECT p.workspace_id FROM place p CROSS JOIN LATERAL (SELECT FROM workspaces x WHERE x.workspace_id = p.workspace_id FOR NO KEY UPDATE SKIP LOCKED) w),
    taken_out AS (
      DELETE FROM slot_changes c WHERE c.ctid = ANY (ARRAY(
        SELECT y.ctid FROM locked l CROSS JOIN LATERAL (SELECT x.ctid FROM slot_changes x WHERE x.workspace_id = l.workspace_id LIMIT 5000) y LIMIT 5000)))
    SELECT (SELECT array_agg(p.workspace_id) FROM place p), (SELECT array_agg(l.workspace_id) FROM locked l), (SELECT count(*) = 200 FROM head) INTO changed, served, has_more;
    EXIT WHEN changed IS NULL;
    looked_at := looked_at || changed;
    has_more := has_more AND cardinality(looked_at) < at_most;
    CONTINUE WHEN served IS NULL;
    startable := ARRAY(SELECT w FROM unnest(served) w
      WHERE (SELECT true FROM runs r WHERE r.workspace_id = w AND r.state = 'queued' LIMIT 1)
        AND (SELECT count(*) FROM runs r WHERE r.workspace_id = w AND r.slot_no IS NOT NULL) < slots_of(w));
    CONTINUE WHEN cardinality(startable) = 0;
    PERFORM make_ready(startable);
    opened := opened + cardinality(startable);
  END LOOP;
  looked := cardinality(looked_at);
END
$$;

CREATE TYPE claimed_run AS (workspace_id text, run_id text, task_id text, epoch int, queued_at timestamptz);

-- Leases runs to a worker, one per token hash: those that kept a slot, and queued ones with the slots that are free. The
-- new epoch fences every earlier attempt. After a limit was lowered nothing queued starts until fewer run.
-- The workspace with the lowest pass is next, and each claim adds to its pass
--   (1 + its claimed runs) / the weight of its plan, in millionths; k of them k x claimed + k (k + 1) / 2.
-- So of two that always have work, one whose plan weighs double starts double as often; and who has much running, for
-- its runs are long, starts the less often for it. Every claim takes a workspace past the pass at which a newcomer comes
-- in: with k others ready it waits for k claims at most, however many runs they have waiting. Claims that are made at
-- the same time may each be one more.
-- weights: {plan: weight}, from 1. Queues are opened here, too, so that work which has just come needs no second transaction.
-- slice_ms: agent time that is booked for each of them, milliseconds; NULL: none.
-- brief: {agent, prompt, toolCallLimit, wallTimeLeftMs, startDelayMs}, all that a worker has to know of a run's
-- first attempt without input files; NULL: there is more to read.
-- agent_time: the answer of lease_agent_time for the first slice; NULL: the worker has to ask.
CREATE FUNCTION claim(worker text, lease interval, token_hashes text[], weights jsonb, open_at_most int, slice_ms bigint)
  RETURNS TABLE (workspace_id text, run_id text, task_id text, epoch int, token_no int, has_parent boolean, brief json, agent_time jsonb)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
  SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  wanted int;
  queues text[];
  looked_at text[] := '{}';
  taken_now claimed_run[];
  picked claimed_run[] := '{}';
  booked jsonb[];
  moment timestamptz;
BEGIN
  PERFORM open_queues(open_at_most);
  LOOP
    wanted := coalesce(cardinality(token_hashes), 0) - cardinality(picked);
    EXIT WHEN wanted = 0;
    SELECT array_agg(q.workspace_id) INTO queues FROM (
      SELECT x.workspace_id FROM run_queues x WHERE x.ready AND x.workspace_id <> ALL (looked_at) ORDER BY x.pass, x.workspace_id LIMIT wanted FOR NO KEY UPDATE SKIP LOCKED) q;
    IF queues IS NULL THEN
      -- Others are claiming of all that are ready. They may leave something, so it is worth to wait for the first of them,
      -- but not for who holds a queue: others that give out slots may wait for that one.
      EXIT WHEN cardinality(looked_at) > 0;
      SELECT array_agg(q.workspace_id) INTO queues FROM (SELECT x.workspace_id FROM run_queues x WHERE x.ready ORDER BY x.pass, x.workspace_id LIMIT 1 FOR NO KEY UPDATE) q;
      EXIT WHEN queues IS NULL;
    END IF;
    looked_at := looked_at || queues;
    -- The queues are locked, so what is read of their runs from here on is not claimed by others, nor their free slots
    -- given out. Each run has the pass at which its queue comes to it; the lowest are what claiming one after the other
    -- would take, of a queue no more than double its share. Chosen before they are locked, and not joined to what is
    -- locked: a plan that has this on the inner side of a loop runs it again for each row, and passes over what it has
    -- just taken.
    WITH queue AS MATERIALIZED (
      SELECT q.workspace_id, q.pass, u.running, cardinality(u.used) AS used, w.weight, l.slots, m.share, m.room,
          CASE WHEN m.room > 0 THEN ARRAY(SELECT g FROM generate_series(1, least(l.slots, cardinality(u.used) + m.room)) g WHERE g <> ALL (u.used) LIMIT m.room) END AS free_slots
        FROM run_queues q
          CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE r.state = 'claimed') AS running, coalesce(array_agg(r.slot_no), '{}') AS used FROM runs r WHERE r.workspace_id = q.workspace_id AND r.slot_no IS NOT NULL OFFSET 0) u
          CROSS JOIN LATERAL (SELECT coalesce((SELECT (weights->>x.plan)::int FROM workspaces x WHERE x.workspace_id = q.workspace_id), 1) AS weight OFFSET 0) w
          CROSS JOIN LATERAL (SELECT slots_of(q.workspace_id) AS slots OFFSET 0) l
          CROSS JOIN LATERAL (SELECT s.share, least(s.share, greatest(0, l.slots - cardinality(u.used))) AS room FROM (SELECT least(wanted, 1 + 2 * w.weight * wanted / cardinality(queues)) AS share) s OFFSET 0) m
        WHERE q.workspace_id = ANY (queues)),
    chosen AS MATERIALIZED (
      SELECT q.workspace_id, c.id, c.state, coalesce(c.slot_no, q.free_slots[c.new_slots]) AS slot_no FROM queue q CROSS JOIN LATERAL (
          SELECT x.id, x.state, x.slot_no, row_number() OVER w - 1 AS before, count(*) FILTER (WHERE x.slot_no IS NULL) OVER w AS new_slots FROM (
            (SELECT r.id, r.turn_at, r.state, r.slot_no FROM runs r WHERE r.workspace_id = q.workspace_id AND r.state = 'admitted' ORDER BY r.turn_at, r.id LIMIT q.share)
            UNION ALL (SELECT r.id, r.turn_at, r.state, r.slot_no FROM runs r WHERE r.workspace_id = q.workspace_id AND r.state = 'queued' ORDER BY r.turn_at, r.id LIMIT q.room)
            ORDER BY turn_at, id LIMIT q.share) x WINDOW w AS (ORDER BY x.turn_at, x.id)) c
        ORDER BY q.pass + 1000000 * (q.running * c.before + c.before * (c.before + 1) / 2) / q.weight, q.workspace_id, c.before LIMIT wanted),
    free AS MATERIALIZED (
      SELECT c.workspace_id, c.id, c.state, c.slot_no FROM chosen c CROSS JOIN LATERAL (
        SELECT x.state FROM runs x WHERE x.workspace_id = c.workspace_id AND x.id = c.id FOR UPDATE SKIP LOCKED) r WHERE r.state = c.state),
    taken AS (
      UPDATE runs r SET state = 'claimed', slot_no = f.slot_no, epoch = r.epoch + 1, worker_id = worker, lease_until = clock_now() + lease FROM free f
        WHERE r.workspace_id = f.workspace_id AND r.id = f.id RETURNING r.workspace_id, r.id, r.task_id, r.epoch, r.queued_at, f.state AS was),
    turned AS (
      UPDATE run_queues q SET pass = q.pass + 1000000 * (k.running * k.taken + k.taken * (k.taken + 1) / 2) / k.weight,
          ready = (SELECT true FROM runs r WHERE r.workspace_id = q.workspace_id AND r.state = 'admitted' LIMIT 1 OFFSET k.taken - k.new_slots) IS NOT NULL
            OR k.used + k.new_slots < k.slots AND (SELECT true FROM runs r WHERE r.workspace_id = q.workspace_id AND r.state = 'queued' LIMIT 1 OFFSET k.new_slots) IS NOT NULL
        FROM (SELECT u.*, t.* FROM queue u CROSS JOIN LATERAL (SELECT count(*) AS taken, count(*) FILTER (WHERE x.was = 'queued') AS new_slots FROM taken x WHERE x.workspace_id = u.workspace_id) t OFFSET 0) k
        WHERE q.workspace_id = k.workspace_id)
    SELECT array_agg(ROW(t.workspace_id, t.id, t.task_id, t.epoch, t.queued_at)::claimed_run) INTO taken_now FROM taken t;
    picked := picked || taken_now;
    -- Then nobody else was ready.
    EXIT WHEN cardinality(queues) < wanted;
  END LOOP;
  IF cardinality(picked) = 0 THEN RETURN; END IF;
  moment := clock_now();
  WITH attempt AS (
    INSERT INTO attempts (workspace_id, run_id, epoch, worker_id, token_hash, started_at)
      SELECT p.workspace_id, p.run_id, p.epoch, worker, token_hashes[p.n], moment FROM unnest(picked) WITH ORDINALITY p(workspace_id, run_id, task_id, epoch, queued_at, n))
  UPDATE tasks t SET state = 'running', parked = NULL, started_at = coalesce(t.started_at, moment) FROM unnest(picked) p
    WHERE t.workspace_id = p.workspace_id AND t.id = p.task_id;
  PERFORM append_events(array_agg(p.workspace_id), array_agg(p.task_id), array_agg('run.claimed'::text),
    array_agg(jsonb_build_object('run_id', p.run_id, 'attempt', p.epoch, 'worker_id', worker)), false) FROM unnest(picked) p;
  -- Last, for the balances are the busiest rows.
  IF slice_ms IS NOT NULL THEN booked := book_first_slices(picked, slice_ms); END IF;
  RETURN QUERY SELECT p.workspace_id, p.run_id, p.task_id, p.epoch, p.n::int, t.parent_task_id IS NOT NULL,
      CASE WHEN p.epoch = 1 AND t.upload_id IS NULL THEN
        json_build_object('agent', json_build_object('id', a.id, 'name', a.name, 'role', a.role, 'traits', a.traits, 'voice', a.voice, 'systemPrompt', a.system_prompt,
            'tools', a.tools, 'model', a.model, 'desk', a.desk),
          'prompt', t.prompt, 'toolCallLimit', t.tool_call_limit, 'wallTimeLeftMs', floor(t.wall_time_limit_ms - extract(epoch FROM moment - t.started_at) * 1000),
          'startDelayMs', greatest(0, extract(epoch FROM moment - p.queued_at) * 1000)) END,
      booked[p.n]
    FROM unnest(picked) WITH ORDINALITY p(workspace_id, run_id, task_id, epoch, queued_at, n)
      CROSS JOIN LATERAL (SELECT * FROM tasks x WHERE x.workspace_id = p.workspace_id AND x.id = p.task_id OFFSET 0) t
      CROSS JOIN LATERAL (SELECT * FROM agents x WHERE x.workspace_id = p.workspace_id AND x.id = t.agent_id OFFSET 0) a;
END
$$;

-- A run whose booking breaks must not keep all others from being claimed: then none is booked, and each worker's asking
-- for its own shows which it was.
CREATE FUNCTION book_first_slices(claimed claimed_run[], slice_ms bigint) RETURNS jsonb[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_material = off SET join_collapse_limit = 1
AS $$
DECLARE
  asked asked_time[];
BEGIN
  asked := ARRAY(SELECT ROW(c.workspace_id, c.run_id, c.epoch, 1, slice_ms, NULL, NULL, c.n)::asked_time
    FROM unnest(claimed) WITH ORDINALITY c(workspace_id, run_id, task_id, epoch, queued_at, n));
  RETURN ARRAY(SELECT b.answer FROM book_times(time_paths(asked)) b ORDER BY b.place);
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$$;

-- Extends the leases that this worker still holds. held: [{workspace_id, run_id, epoch}] -> those that were extended.
-- Locked in the order in which runs that end together are.
CREATE FUNCTION heartbeat(worker text, lease interval, held jsonb) RETURNS TABLE (run_id text, epoch int)
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
  WITH locked AS MATERIALIZED (
    SELECT r.workspace_id, r.id FROM (SELECT * FROM jsonb_to_recordset(held) AS h(workspace_id text, run_id text, epoch int) ORDER BY h.workspace_id COLLATE "C", h.run_id COLLATE "C") h
      CROSS JOIN LATERAL (SELECT x.workspace_id, x.id FROM runs x WHERE x.workspace_id = h.workspace_id AND x.id = h.run_id AND x.epoch = h.epoch AND x.worker_id = worker
        AND x.state = 'claimed' AND x.lease_until > clock_now() FOR NO KEY UPDATE) r)
  UPDATE runs r SET lease_until = clock_now() + lease FROM locked l WHERE r.workspace_id = l.workspace_id AND r.id = l.id RETURNING r.id, r.epoch
$$;

-- A worker that shuts down hands its run over: claimable at once, not counted as a failed attempt.
CREATE FUNCTION release_run(workspace text, run text, an_epoch int, reason text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  task text;
BEGIN
  UPDATE runs r SET state = 'admitted', lease_until = NULL, queued_at = clock_now()
    WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' RETURNING r.task_id INTO task;
  IF NOT FOUND THEN RETURN false; END IF;
  UPDATE attempts a SET ended_at = clock_now(), end_reason = reason WHERE a.workspace_id = workspace AND a.run_id = run AND a.epoch = an_epoch;
  PERFORM append_event(workspace, task, 'run.released', jsonb_build_object('run_id', run, 'attempt', an_epoch, 'reason', reason));
  RETURN true;
END
$$;

-- Where the looks over workspaces with parked runs stand. A job's row is locked while one process looks; others pass.
CREATE TABLE wake_turns (
  job text PRIMARY KEY CHECK (job IN ('due', 'limited', 'unpriced')),
  after_workspace text COLLATE "C" NOT NULL DEFAULT ''
);
INSERT INTO wake_turns (job) VALUES ('due'), ('limited'), ('unpriced');
GRANT SELECT, UPDATE ON wake_turns TO guildhall_definer;

-- The same within a workspace that has more paused runs than one look takes. Without a foreign key, like run_queues.
CREATE TABLE wake_places (
  workspace_id text COLLATE "C" NOT NULL,
  job text COLLATE "C" NOT NULL,
  after_created_at timestamptz NOT NULL,
  after_task text COLLATE "C" NOT NULL,
  PRIMARY KEY (workspace_id, job)
) WITH (fillfactor = 50);
CALL make_tenant_table('wake_places', 'SELECT', 'SELECT, INSERT, UPDATE');

-- Workspaces whose limit was changed, or that are stopped no more: their paused runs are looked at first. Only inserted by
-- whom it happens to, so that nobody waits for a lock. Of an owner's or the platform's limit there is none: it concerns all
-- whom the turn comes to.
CREATE TABLE limit_changes (
  workspace_id text COLLATE "C" NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX limit_changes_in_order ON limit_changes (id);
CALL make_tenant_table('limit_changes', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT, INSERT');

CREATE FUNCTION note_limit_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  INSERT INTO limit_changes (workspace_id) VALUES (NEW.workspace_id);
  RETURN NULL;
END
$$;
CREATE TRIGGER limit_changed AFTER INSERT ON limits FOR EACH ROW WHEN (NEW.meter IN ('model_cost', 'agent_time', 'model_calls', 'tool_calls')) EXECUTE FUNCTION note_limit_change();
CREATE TRIGGER workspace_resumed AFTER UPDATE OF suspended ON workspaces FOR EACH ROW WHEN (NEW.suspended IS NULL AND OLD.suspended IS NOT NULL) EXECUTE FUNCTION note_limit_change();

-- The next workspaces in whose parked runs the job has something to look at, at most so many, in a circle from where the last
-- look ended. Each step is one look into an index, past all else that the workspace has there; 2,000 at most, so a round costs
-- the same however many workspaces have parked runs, and of W the last one is stepped on after W / 2,000 rounds at most.
-- -> NULL when another process is at it
CREATE FUNCTION next_workspaces(a_job text, at_most int) RETURNS text[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_incremental_sort = off
AS $$
DECLARE
  moment timestamptz := clock_now();
  began text;
  place text;
  stepped text;
  wanted boolean;
  around boolean := false;
  found_now text[] := '{}';
BEGIN
  SELECT w.after_workspace INTO began FROM wake_turns w WHERE w.job = a_job FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN NULL; END IF;
  place := began;
  FOR step IN 1..2000 LOOP
    EXIT WHEN cardinality(found_now) >= at_most;
    IF a_job = 'due' THEN
      SELECT r.workspace_id, r.wake_at <= moment INTO stepped, wanted FROM runs r
        WHERE r.state = 'parked' AND r.wake_at IS NOT NULL AND r.workspace_id > place ORDER BY r.workspace_id, r.wake_at LIMIT 1;
    ELSIF a_job = 'limited' THEN
      SELECT t.workspace_id, (SELECT w.suspended IS NULL FROM workspaces w WHERE w.workspace_id = t.workspace_id) INTO stepped, wanted FROM tasks t
        WHERE t.parked->>'kind' IN ('limit', 'suspended') AND t.workspace_id > place ORDER BY t.workspace_id, t.created_at, t.id LIMIT 1;
    ELSE
      SELECT t.workspace_id, true INTO stepped, wanted FROM tasks t
        WHERE t.parked->>'kind' = 'unpriced' AND t.workspace_id > place ORDER BY t.workspace_id, t.created_at, t.id LIMIT 1;
    END IF;
    IF stepped IS NULL OR around AND stepped > began THEN
      IF around OR began = '' THEN
        -- All have been looked at; another one is the first of the next round.
        place := coalesce(found_now[1], began);
        EXIT;
      END IF;
      around := true;
      place := '';
    ELSE
      place := stepped;
      IF wanted THEN found_now := found_now || stepped; END IF;
    END IF;
  END LOOP;
  UPDATE wake_turns w SET after_workspace = place WHERE w.job = a_job AND w.after_workspace <> place;
  RETURN found_now;
END
$$;

-- Wakes parked runs whose time has come, a bounded number at a time. When more than that are due, each workspace has its
-- share of the round, of its own the earliest first, and what the shares leave goes to the earliest of all. So one of
-- D workspaces with due runs waits for D / 200 rounds at most (and for being stepped on, see above), whatever others have.
CREATE FUNCTION wake_due_runs() RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
  SET enable_bitmapscan = off SET enable_sort = off SET enable_incremental_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  moment timestamptz := clock_now();
  queues text[] := '{}';
  share int;
  r record;
  woken int := 0;
BEGIN
  PERFORM 1 FROM runs x WHERE x.state = 'parked' AND x.wake_at <= moment ORDER BY x.wake_at OFFSET 200 LIMIT 1;
  IF FOUND THEN
    queues := next_workspaces('due', 200);
    IF queues IS NULL THEN RETURN 0; END IF;
    share := (199 + cardinality(queues)) / greatest(1, cardinality(queues));
  END IF;
  FOR r IN
    WITH fair AS MATERIALIZED (
      SELECT q.workspace_id, d.id, q.n, row_number() OVER (PARTITION BY q.n ORDER BY d.wake_at) AS place FROM unnest(queues) WITH ORDINALITY q(workspace_id, n)
        CROSS JOIN LATERAL (SELECT x.id, x.wake_at FROM runs x WHERE x.workspace_id = q.workspace_id AND x.state = 'parked' AND x.wake_at <= moment
          ORDER BY x.wake_at LIMIT share) d),
    earliest AS MATERIALIZED (
      SELECT x.workspace_id, x.id, x.wake_at FROM runs x WHERE x.state = 'parked' AND x.wake_at <= moment ORDER BY x.wake_at LIMIT 200),
    chosen AS MATERIALIZED (
      SELECT f.workspace_id, f.id, f.place, f.n, NULL::timestamptz AS wake_at FROM fair f
      UNION ALL SELECT e.workspace_id, e.id, 201, 0, e.wake_at FROM earliest e WHERE NOT EXISTS (SELECT FROM fair f WHERE f.workspace_id = e.workspace_id AND f.id = e.id)
      ORDER BY place, n, wake_at LIMIT 200)
    SELECT l.workspace_id, l.task_id FROM chosen c CROSS JOIN LATERAL (
      -- By nothing but its id (OFFSET 0 keeps the rest outside), for which no other index can be taken.
      SELECT x.workspace_id, x.task_id, x.state, x.wake_at FROM runs x WHERE x.workspace_id = c.workspace_id AND x.id = c.id OFFSET 0 FOR UPDATE SKIP LOCKED) l
      WHERE l.state = 'parked' AND l.wake_at <= moment
  LOOP
    IF wake_run(r.workspace_id, r.task_id) THEN woken := woken + 1; END IF;
  END LOOP;
  RETURN woken;
END
$$;

-- How much one level still leaves, without locking or opening its row. NULL is no limit.
CREATE FUNCTION budget_room(workspace text, a_meter text, k budget_key) RETURNS bigint
  LANGUAGE plpgsql STABLE SET search_path = public, pg_temp
AS $$
DECLARE
  amount bigint;
  used bigint;
  shared bigint;
BEGIN
  SELECT b.limit_amount, b.posted + b.held INTO amount, used FROM budgets b
    WHERE b.workspace_id = workspace AND b.meter = a_meter AND b.level = k.level AND b.scope_id = k.scope_id AND b.period = k.period;
  IF k.level IN ('owner', 'platform') THEN
    IF used IS NULL THEN
      SELECT l.amount INTO amount FROM top_limits l WHERE l.level = k.level AND l.scope_id = k.scope_id AND l.meter = a_meter ORDER BY l.version DESC LIMIT 1;
    END IF;
    IF amount IS NULL THEN RETURN NULL; END IF;
    -- Chunks that other workspaces do not use come back when they are needed, so what counts is what all of them use.
    SELECT t.limit_amount INTO shared FROM top_budgets t WHERE t.level = k.level AND t.scope_id = k.scope_id AND t.meter = a_meter AND t.period = k.period;
    RETURN coalesce(shared, amount) - (SELECT coalesce(sum(b.posted + b.held), 0) FROM budgets b
      WHERE b.level = k.level AND b.scope_id = k.scope_id AND b.meter = a_meter AND b.period = k.period AND b.level IN ('owner', 'platform'));
  END IF;
  IF used IS NULL THEN
    SELECT l.amount INTO amount FROM limits l WHERE l.workspace_id = workspace AND l.meter = a_meter AND l.level = k.level AND l.scope_id = k.scope_id ORDER BY l.version DESC LIMIT 1;
    IF NOT FOUND AND k.level = 'task' THEN
      SELECT CASE a_meter WHEN 'model_cost' THEN t.cost_limit_nano_usd ELSE t.agent_time_limit_ms END INTO amount FROM tasks t WHERE t.workspace_id = workspace AND t.id = k.scope_id;
    END IF;
  END IF;
  RETURN amount - coalesce(used, 0);
END
$$;

-- The paused tasks that the job looks at in this round: 200 at most, of each workspace whose turn it is its share, in a circle
-- from where the last look at it ended. So of W workspaces each is looked at after W / 200 rounds, and of n paused tasks of
-- one the last after n / its share of its turns, whichever of them can go on. Workspaces named in `first` do not wait.
CREATE FUNCTION next_paused(a_job text, first text[]) RETURNS TABLE (workspace_id text, task_id text)
  LANGUAGE plpgsql SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_incremental_sort = off
AS $$
DECLARE
  queues text[];
  after_at timestamptz;
  after_id text;
  tasks_now text[];
  left_over int := 200;
  share int;
BEGIN
  queues := first || ARRAY(SELECT q FROM unnest(next_workspaces(a_job, left_over - cardinality(first))) q WHERE q <> ALL (first));
  FOR n IN 1..cardinality(queues) LOOP
    -- What one does not need is for those after it.
    share := (left_over + cardinality(queues) - n) / (cardinality(queues) - n + 1);
    SELECT p.after_created_at, p.after_task INTO after_at, after_id FROM wake_places p WHERE p.workspace_id = queues[n] AND p.job = a_job;
    IF after_id IS NULL THEN
      after_at := '-infinity';
      after_id := '';
    END IF;
    IF a_job = 'limited' THEN
      tasks_now := ARRAY(SELECT t.id FROM tasks t WHERE t.parked->>'kind' IN ('limit', 'suspended') AND t.workspace_id = queues[n]
        AND (t.created_at, t.id) > (after_at, after_id) ORDER BY t.created_at, t.id LIMIT share);
      tasks_now := tasks_now || ARRAY(SELECT t.id FROM tasks t WHERE t.parked->>'kind' IN ('limit', 'suspended') AND t.workspace_id = queues[n]
        AND (t.created_at, t.id) <= (after_at, after_id) ORDER BY t.created_at, t.id LIMIT share - cardinality(tasks_now));
    ELSE
      tasks_now := ARRAY(SELECT t.id FROM tasks t WHERE t.parked->>'kind' = 'unpriced' AND t.workspace_id = queues[n]
        AND (t.created_at, t.id) > (after_at, after_id) ORDER BY t.created_at, t.id LIMIT share);
      tasks_now := tasks_now || ARRAY(SELECT t.id FROM tasks t WHERE t.parked->>'kind' = 'unpriced' AND t.workspace_id = queues[n]
        AND (t.created_at, t.id) <= (after_at, after_id) ORDER BY t.created_at, t.id LIMIT share - cardinality(tasks_now));
    END IF;
    IF cardinality(tasks_now) = share THEN
      INSERT INTO wake_places AS p (workspace_id, job, after_created_at, after_task)
        SELECT t.workspace_id, a_job, t.created_at, t.id FROM tasks t WHERE t.workspace_id = queues[n] AND t.id = tasks_now[share]
        ON CONFLICT ON CONSTRAINT wake_places_pkey DO UPDATE SET after_created_at = excluded.after_created_at, after_task = excluded.after_task WHERE p.after_task <> excluded.after_task;
    END IF;
    left_over := left_over - cardinality(tasks_now);
    RETURN QUERY SELECT queues[n], u FROM unnest(tasks_now) u;
  END LOOP;
END
$$;

-- Wakes runs that a limit had paused, once every level leaves what the next step needs: the limit was raised, the
-- period turned, or open holds returned; and those of a workspace that is stopped no more. What one woken run needs is
-- not promised to the next one. A round looks at so many that it ends within the statement timeout (see next_paused),
-- first at workspaces whose limit was changed.
CREATE FUNCTION wake_limited_runs() RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  changed text[];
  -- What a level of many workspaces leaves is the sum of what all of them use: asked for once.
  shared_room jsonb := '{}';
  c record;
  k budget_key;
  keys budget_key[];
  label text;
  labels text[];
  room bigint;
  fits boolean;
  promised jsonb := '{}';
  woken int := 0;
BEGIN
  -- Here already: who passes must leave the notes to whoever is at it.
  PERFORM 1 FROM wake_turns w WHERE w.job = 'limited' FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  WITH noted AS (
    DELETE FROM limit_changes x WHERE x.ctid = ANY (ARRAY(SELECT y.ctid FROM limit_changes y ORDER BY y.id LIMIT 100 FOR UPDATE SKIP LOCKED)) RETURNING x.workspace_id)
  SELECT coalesce(array_agg(DISTINCT n.workspace_id), '{}') INTO changed FROM noted n;
  FOR c IN
    SELECT * FROM (
      SELECT r.workspace_id, r.id, r.task_id, t.priority, t.parked->>'meter' AS meter, (t.parked->>'needed')::bigint AS needed,
          -- Calls of a task count by themselves; what has none of the meters below waits for the workspace only.
          CASE t.parked->>'meter' WHEN 'model_calls' THEN t.model_call_limit WHEN 'tool_calls' THEN t.tool_call_limit END - (t.parked->>'posted')::bigint AS calls_left
        FROM next_paused('limited', changed) p
          CROSS JOIN LATERAL (SELECT * FROM tasks y WHERE y.workspace_id = p.workspace_id AND y.id = p.task_id AND y.state = 'paused'
            AND EXISTS (SELECT FROM workspaces w WHERE w.workspace_id = p.workspace_id AND w.suspended IS NULL OFFSET 0) OFFSET 0) t
          CROSS JOIN LATERAL (SELECT y.workspace_id, y.id, y.task_id FROM runs y WHERE y.workspace_id = p.workspace_id AND y.task_id = p.task_id AND y.state = 'parked' FOR UPDATE SKIP LOCKED) r
    ) x ORDER BY x.priority DESC, x.task_id
  LOOP
    keys := CASE WHEN c.meter IN ('model_cost', 'agent_time') THEN spender_levels(c.workspace_id, c.id) ELSE '{}'::budget_key[] END;
    fits := coalesce(c.calls_left >= c.needed, true);
    labels := '{}';
    FOREACH k IN ARRAY keys LOOP
      label := concat_ws(' ', CASE WHEN k.level IN ('owner', 'platform') THEN '' ELSE c.workspace_id END, c.meter, k.level, k.scope_id);
      labels := labels || label;
      IF shared_room ? label THEN
        room := (shared_room->>label)::bigint;
      ELSE
        room := budget_room(c.workspace_id, c.meter, k);
        IF k.level IN ('owner', 'platform') THEN shared_room := shared_room || jsonb_build_object(label, room); END IF;
      END IF;
      fits := room IS NULL OR room - coalesce((promised->>label)::bigint, 0) >= c.needed;
      EXIT WHEN NOT fits;
    END LOOP;
    CONTINUE WHEN NOT fits;
    promised := promised || (SELECT coalesce(jsonb_object_agg(l, coalesce((promised->>l)::bigint, 0) + c.needed), '{}') FROM unnest(labels) l);
    IF wake_run(c.workspace_id, c.task_id) THEN woken := woken + 1; END IF;
  END LOOP;
  RETURN woken;
END
$$;

-- Functions that the definer role owns, and who may execute them. Nobody else may.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public' AND p.prokind = 'f' LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
  END LOOP;
END
$$;
CALL own_definer_functions();
REVOKE EXECUTE ON PROCEDURE make_tenant_table, own_definer_functions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clock_now(), current_workspace() TO guildhall_app, guildhall_ledger, guildhall_platform, guildhall_definer;
GRANT EXECUTE ON FUNCTION next_workspaces(text, int), next_paused(text, text[]) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION make_ready(text[]), append_events(text[], text[], text[], jsonb[], boolean), book_first_slices(claimed_run[], bigint) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION slots_of(text) TO guildhall_app, guildhall_platform, guildhall_definer;
GRANT EXECUTE ON FUNCTION append_event(text, text, text, jsonb), wake_run(text, text, int), end_task(text, text, text, text, text, jsonb) TO guildhall_app, guildhall_definer;
GRANT EXECUTE ON FUNCTION append_audit(text, text, text, text, text, text), append_run_events(text, int, jsonb), record_step(text, int, int, text, text, jsonb, jsonb), lock_lease(text, int), finish_run(text, int, text, text, text, jsonb), park_run(text, int, text, jsonb, timestamptz, text), set_limit(text, text, text, bigint, text),
  budget_room(text, text, budget_key) TO guildhall_app;
GRANT EXECUTE ON FUNCTION budget_room(text, text, budget_key) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION commit_spending(json, json, json), mark_dispatched(text, text, text), run_active(text, text, int, text), take_journal(text, text, int, text, text), lease_agent_time(text, text, int, int, bigint),
  process_seen(text, text), reap_holds(interval, interval, int), open_queues(int), claim(text, interval, text[], jsonb, int, bigint), finish_runs(json), heartbeat(text, interval, jsonb),
  release_run(text, text, int, text), wake_due_runs(), wake_limited_runs() TO guildhall_ledger;
