-- Payloads of the bell between processes, and of the outbox, that fit no schema: kept with the reason for the operator,
-- and never tried again. What they told of is found by the poll. No tenant table: nobody knows whose they were.
CREATE TABLE dead_wakes (
  -- postgres, redis or outbox: where it came from.
  source text NOT NULL,
  payload_hash text NOT NULL,
  -- Its beginning, and why it was put away.
  payload text NOT NULL,
  reason text NOT NULL,
  times bigint NOT NULL DEFAULT 1,
  first_at timestamptz NOT NULL DEFAULT clock_now(),
  last_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (source, payload_hash)
);
CREATE INDEX dead_wakes_last ON dead_wakes (last_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_wakes TO guildhall_platform;

-- Not before this moment: the run is parked until then, and takes no slot.
ALTER TABLE tasks ADD COLUMN start_after timestamptz;
-- The failed task whose work this one does again. Once for each: who asks again gets the task that was made then.
ALTER TABLE tasks ADD COLUMN replay_of text COLLATE "C";
ALTER TABLE tasks ADD FOREIGN KEY (workspace_id, replay_of) REFERENCES tasks (workspace_id, id);
CREATE UNIQUE INDEX tasks_replay ON tasks (workspace_id, replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX tasks_dead ON tasks (workspace_id, id) WHERE cause = 'attempts_exhausted';

-- How long a run rests after its n-th failure in a row. A lost worker says nothing about the run, so the first lost
-- lease goes on at once; what broke by itself rests at once. From then on the pause doubles.
CREATE FUNCTION retry_pause(failures int, reason text, backoff interval) RETURNS interval
  LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp
AS $$
  SELECT CASE WHEN reason = 'lease_lost' THEN CASE WHEN failures <= 1 THEN interval '0' ELSE backoff * power(2, failures - 2) END
    ELSE backoff * power(2, failures - 1) END
$$;

-- One more failed attempt of a claimed run, which the caller has locked (its parent's before it). Without a pause it keeps its slot
-- and is claimable at once; for a pause it gives the slot back and is parked until then. After `attempts_allowed` failures
-- in a row its task fails with the cause. -> true when it goes on
CREATE FUNCTION fail_attempt(r runs, reason text, attempts_allowed int, backoff interval) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  failures int := r.failed_attempts + 1;
  pause interval := retry_pause(failures, reason, backoff);
  dead boolean := failures >= attempts_allowed;
  retry_in_ms bigint := CASE WHEN NOT dead THEN (extract(epoch FROM pause) * 1000)::bigint END;
BEGIN
  IF reason = 'lease_lost' THEN
    PERFORM append_event(r.workspace_id, r.task_id, 'run.lease_lost',
      jsonb_build_object('run_id', r.id, 'attempt', r.epoch, 'worker_id', r.worker_id, 'retry_in_ms', retry_in_ms));
  ELSE
    PERFORM append_event(r.workspace_id, r.task_id, 'run.released',
      jsonb_build_object('run_id', r.id, 'attempt', r.epoch, 'reason', reason, 'retry_in_ms', retry_in_ms));
  END IF;
  UPDATE attempts a SET ended_at = clock_now(), end_reason = reason WHERE a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch;
  IF dead THEN
    PERFORM end_task(r.workspace_id, r.task_id, 'failed', 'attempts_exhausted', NULL, jsonb_build_object('cause', 'attempts_exhausted', 'message',
      CASE WHEN reason = 'lease_lost' THEN format('The worker was lost %s times while this task ran.', failures)
        ELSE format('The run broke %s times in a row for a reason inside Guildhall; the operator''s log has the cause.', failures) END));
    RETURN false;
  END IF;
  IF pause > interval '0' THEN
    UPDATE runs x SET state = 'parked', slot_no = NULL, lease_until = NULL, failed_attempts = failures,
        wake_at = least(clock_now() + pause, (SELECT t.started_at + t.wall_time_limit_ms * interval '1 millisecond' FROM tasks t WHERE t.workspace_id = r.workspace_id AND t.id = r.task_id))
      WHERE x.workspace_id = r.workspace_id AND x.id = r.id;
    INSERT INTO outbox (workspace_id, topic, payload) VALUES (r.workspace_id, 'slot.free', jsonb_build_object('task_id', r.task_id));
  ELSE
    UPDATE runs x SET state = 'admitted', lease_until = NULL, failed_attempts = failures, queued_at = clock_now() WHERE x.workspace_id = r.workspace_id AND x.id = r.id;
  END IF;
  RETURN true;
END
$$;

-- Agent time that an attempt has booked beyond the moment when it stopped at the latest; below 1: none.
CREATE FUNCTION time_beyond(workspace text, run text, an_epoch int, stopped_at timestamptz) RETURNS bigint
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  SELECT sum(s.granted_ms - s.returned_ms)::bigint - ceil(extract(epoch FROM stopped_at - (SELECT a.started_at FROM attempts a
      WHERE a.workspace_id = workspace AND a.run_id = run AND a.epoch = an_epoch)) * 1000)::bigint
    FROM time_slices s WHERE s.workspace_id = workspace AND s.run_id = run AND s.epoch = an_epoch
$$;

-- What dead workers left of agent time that nobody else can give back. A return that breaks must not keep runs from going on elsewhere.
CREATE FUNCTION give_lost_times_back(lost asked_time[]) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  PERFORM give_times_back(lost);
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'agent time of lost attempts was not given back: %', SQLERRM;
END
$$;

-- Takes back the leases that ran out (grace: the holder stops itself at its earlier local deadline). So many at a time
-- that a round ends within the statement timeout, however many were lost at once: the next one goes on. What they had
-- booked of agent time beyond that comes back, for nobody is left who could give it back.
CREATE FUNCTION reap_runs(grace interval, attempts_allowed int, backoff interval) RETURNS TABLE (requeued int, exhausted int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  c record;
  r runs;
  lost asked_time[] := '{}';
BEGIN
  requeued := 0;
  exhausted := 0;
  FOR c IN SELECT x.workspace_id, x.id, t.parent_task_id FROM runs x JOIN tasks t ON t.workspace_id = x.workspace_id AND t.id = x.task_id
    WHERE x.state = 'claimed' AND x.lease_until < clock_now() - grace ORDER BY x.lease_until LIMIT 200
  LOOP
    IF c.parent_task_id IS NOT NULL THEN
      PERFORM 1 FROM runs p WHERE p.workspace_id = c.workspace_id AND p.task_id = c.parent_task_id AND p.state <> 'ended' FOR UPDATE;
    END IF;
    SELECT x.* INTO r FROM runs x WHERE x.workspace_id = c.workspace_id AND x.id = c.id AND x.state = 'claimed' AND x.lease_until < clock_now() - grace FOR UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    lost := lost || ROW(r.workspace_id, r.id, r.epoch, NULL, NULL, time_beyond(r.workspace_id, r.id, r.epoch, r.lease_until), NULL, cardinality(lost) + 1)::asked_time;
    IF fail_attempt(r, 'lease_lost', attempts_allowed, backoff) THEN requeued := requeued + 1; ELSE exhausted := exhausted + 1; END IF;
  END LOOP;
  RETURN NEXT;
  -- Last, for the balances are the busiest rows.
  IF cardinality(lost) > 0 THEN PERFORM give_lost_times_back(lost); END IF;
END
$$;

-- Gives back what cancelled attempts had booked beyond their end and their workers have not given back. -> of how many
CREATE FUNCTION return_cancelled_time() RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  lost asked_time[];
BEGIN
  WITH due AS (
    DELETE FROM cancelled_attempts c WHERE c.ctid = ANY (ARRAY(
      SELECT x.ctid FROM cancelled_attempts x WHERE x.due_at < clock_now() ORDER BY x.due_at LIMIT 200 FOR UPDATE SKIP LOCKED)) RETURNING c.workspace_id, c.run_id, c.epoch)
  SELECT array_agg(ROW(d.workspace_id, d.run_id, d.epoch, NULL, NULL, u.ms, NULL, d.n)::asked_time) INTO lost
    FROM (SELECT *, row_number() OVER () AS n FROM due) d
      CROSS JOIN LATERAL (SELECT time_beyond(d.workspace_id, d.run_id, d.epoch, a.ended_at) AS ms FROM attempts a
        WHERE a.workspace_id = d.workspace_id AND a.run_id = d.run_id AND a.epoch = d.epoch) u;
  IF lost IS NULL THEN RETURN 0; END IF;
  PERFORM give_lost_times_back(lost);
  RETURN cardinality(lost);
END
$$;

-- The attempt that holds the lease says that it broke. -> false when it is stale
CREATE FUNCTION retry_run(run text, an_epoch int, attempts_allowed int, backoff interval) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  r runs := lock_lease(run, an_epoch);
BEGIN
  IF r.id IS NULL THEN RETURN false; END IF;
  PERFORM fail_attempt(r, 'attempt_failed', attempts_allowed, backoff);
  RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION time_beyond(text, text, int, timestamptz), give_lost_times_back(asked_time[]), retry_pause(int, text, interval), fail_attempt(runs, text, int, interval), retry_run(text, int, int, interval) FROM PUBLIC;
CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION time_beyond(text, text, int, timestamptz), give_lost_times_back(asked_time[]) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION retry_pause(int, text, interval), fail_attempt(runs, text, int, interval) TO guildhall_app, guildhall_definer;
GRANT EXECUTE ON FUNCTION retry_run(text, int, int, interval) TO guildhall_app;
GRANT EXECUTE ON FUNCTION reap_runs(interval, int, interval), return_cancelled_time() TO guildhall_ledger;
