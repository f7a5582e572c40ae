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
