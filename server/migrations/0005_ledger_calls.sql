-- A hold that was asked for, and what the database knows about who asks.
CREATE TYPE asked_hold AS (
  workspace_id text, hold_id text, run_id text, api_key_id text, epoch int, call_no int, attempt_no int, owner_id text, model text, price_version text,
  input_cost bigint, token_price bigint, max_tokens int, min_tokens int, dispatch boolean, lease_until timestamptz, call_limit int, budget_ids bigint[], n bigint);

-- The asked holds whose attempt has the lease of its run, by epoch and token. Shared lock: the lease cannot be taken away
-- between this check and the hold.
CREATE FUNCTION asked_by_runs(items json) RETURNS asked_hold[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  today text := spend_day();
  asked asked_hold[];
BEGIN
  SELECT array_agg(ROW(l.workspace_id, l.hold_id, l.run_id, NULL, l.epoch, l.call_no, l.attempt_no, l.owner_id, l.model, l.price_version,
      l.input_cost, l.token_price, l.max_tokens, l.min_tokens, l.dispatch, l.lease_until, l.model_call_limit, l.budget_ids, l.n)::asked_hold ORDER BY l.n) INTO asked
    FROM (SELECT i.*, r.lease_until, t.model_call_limit, p.budget_ids
      FROM (SELECT * FROM ROWS FROM (json_to_recordset(items) AS (workspace_id text, hold_id text, run_id text, epoch int, token_hash text, call_no int, attempt_no int, owner_id text,
          model text, price_version text, input_cost bigint, token_price bigint, max_tokens int, min_tokens int, dispatch boolean)) WITH ORDINALITY i
        (workspace_id, hold_id, run_id, epoch, token_hash, call_no, attempt_no, owner_id, model, price_version, input_cost, token_price, max_tokens, min_tokens, dispatch, n)
          ORDER BY i.workspace_id COLLATE "C", i.run_id COLLATE "C") i
        CROSS JOIN LATERAL (SELECT x.task_id, x.lease_until FROM runs x
          WHERE x.workspace_id = i.workspace_id AND x.id = i.run_id AND x.epoch = i.epoch AND x.state = 'claimed' AND x.lease_until > clock_now() FOR SHARE) r
        CROSS JOIN LATERAL (SELECT 1 FROM attempts x WHERE x.workspace_id = i.workspace_id AND x.run_id = i.run_id AND x.epoch = i.epoch AND x.token_hash = i.token_hash OFFSET 0) a
        CROSS JOIN LATERAL (SELECT x.model_call_limit FROM tasks x WHERE x.workspace_id = i.workspace_id AND x.id = r.task_id OFFSET 0) t
        LEFT JOIN LATERAL (SELECT x.budget_ids FROM spend_paths x WHERE x.workspace_id = i.workspace_id AND x.spender_id = i.run_id AND x.meter = 'model_cost' AND x.day = today OFFSET 0) p ON true) l;
  RETURN asked;
END
$$;

-- The asked holds whose API key is neither revoked nor ended. What the key may do was checked by who took it in; the
-- shared lock keeps a revocation from falling between this check and the hold.
CREATE FUNCTION asked_by_keys(items json) RETURNS asked_hold[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  today text := spend_day();
  asked asked_hold[];
BEGIN
  SELECT array_agg(ROW(l.workspace_id, l.hold_id, NULL, l.api_key_id, NULL, NULL, l.attempt_no, l.owner_id, l.model, l.price_version,
      l.input_cost, l.token_price, l.max_tokens, l.min_tokens, l.dispatch, coalesce(l.expires_at, 'infinity'), NULL, l.budget_ids, 1000000 + l.n)::asked_hold ORDER BY l.n) INTO asked
    FROM (SELECT i.*, k.expires_at, p.budget_ids
      FROM (SELECT * FROM ROWS FROM (json_to_recordset(items) AS (workspace_id text, hold_id text, api_key_id text, secret_hash text, attempt_no int, owner_id text,
          model text, price_version text, input_cost bigint, token_price bigint, max_tokens int, min_tokens int, dispatch boolean)) WITH ORDINALITY i
        (workspace_id, hold_id, api_key_id, secret_hash, attempt_no, owner_id, model, price_version, input_cost, token_price, max_tokens, min_tokens, dispatch, n)
          ORDER BY i.workspace_id COLLATE "C", i.api_key_id COLLATE "C") i
        CROSS JOIN LATERAL (SELECT x.expires_at FROM api_keys x WHERE x.workspace_id = i.workspace_id AND x.id = i.api_key_id AND x.secret_hash = i.secret_hash
          AND x.revoked_at IS NULL AND (x.expires_at IS NULL OR x.expires_at > clock_now()) FOR SHARE) k
        LEFT JOIN LATERAL (SELECT x.budget_ids FROM spend_paths x WHERE x.workspace_id = i.workspace_id AND x.spender_id = i.api_key_id AND x.meter = 'model_cost' AND x.day = today OFFSET 0) p ON true) l;
  RETURN asked;
END
$$;

-- A hold that shall end, and what its end changes.
CREATE TYPE ended_hold AS (
  workspace_id text, hold_id text, run_id text, epoch int, state text, new_state text, kind text, held_change bigint, charge bigint, posted_change bigint, overrun bigint,
  usage jsonb, request_hash text, body_base64 text, budget_ids bigint[]);

-- What settlements do to their holds, which are locked here; new_state NULL: nothing, for the hold is not in a state
-- from which that outcome is possible.
-- settled: DISPATCHED or PROVISIONAL -> SETTLED at min(actual, amount), the excess on the overrun account. A provisional
-- charge is the full amount, so this can only lower it.
-- provisional: DISPATCHED -> PROVISIONAL at the full amount. void: HELD -> VOID.
CREATE FUNCTION holds_to_end(items json) RETURNS ended_hold[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  ended ended_hold[];
BEGIN
  SELECT array_agg(ROW(l.workspace_id, l.id, l.run_id, l.epoch, l.state,
      CASE WHEN l.fits THEN CASE l.outcome WHEN 'settled' THEN 'SETTLED' WHEN 'provisional' THEN 'PROVISIONAL' ELSE 'VOID' END END,
      CASE WHEN NOT l.fits OR l.outcome = 'void' THEN NULL WHEN l.state = 'PROVISIONAL' THEN 'lowered' WHEN l.outcome = 'provisional' THEN 'provisional' ELSE 'settle' END,
      CASE WHEN l.state = 'PROVISIONAL' THEN 0 ELSE -l.amount END, l.charge, l.charge - coalesce(l.posted, 0),
      CASE WHEN l.outcome = 'settled' THEN l.actual - l.charge ELSE 0 END,
      coalesce(l.new_usage, l.usage), l.request_hash, l.body_base64, l.budget_ids)::ended_hold) INTO ended
    FROM (SELECT h.*, i.outcome, i.actual, i.usage AS new_usage, i.request_hash, i.body_base64,
        CASE i.outcome WHEN 'settled' THEN least(i.actual, h.amount) WHEN 'provisional' THEN h.amount ELSE 0 END AS charge,
        CASE i.outcome WHEN 'settled' THEN h.state IN ('DISPATCHED', 'PROVISIONAL') WHEN 'provisional' THEN h.state = 'DISPATCHED' WHEN 'void' THEN h.state = 'HELD' ELSE false END AS fits
      FROM (SELECT * FROM json_to_recordset(items) AS x(workspace_id text, hold_id text, outcome text, actual bigint, usage jsonb, request_hash text, body_base64 text)
          ORDER BY x.workspace_id COLLATE "C", x.hold_id COLLATE "C") i
        CROSS JOIN LATERAL (SELECT x.* FROM holds x WHERE x.workspace_id = i.workspace_id AND x.id = i.hold_id FOR NO KEY UPDATE) h) l;
  RETURN ended;
END
$$;

-- A balance as a transaction has changed it. full: what was asked of it does not fit.
CREATE TYPE changed_level AS (id bigint, level text, scope_id text, meter text, period text, limit_version int, limit_amount bigint, posted bigint, held bigint, calls int, asked boolean, is_full boolean);

-- Books holds that end and, as if all of it fitted, what is asked for; `sign` -1 takes the latter back. One statement
-- locks, changes and reads the balances, each once: three of them cost twice as much. Rows are locked as they come out of
-- the sort, for the outer side of a nested loop keeps its order.
-- A run's own balance counts its calls.
CREATE FUNCTION change_levels(ended ended_hold[], asked asked_hold[], sign int) RETURNS changed_level[]
  LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_hashjoin = off SET enable_bitmapscan = off
AS $$
DECLARE
  levels changed_level[];
BEGIN
  WITH c AS MATERIALIZED (
    SELECT u.workspace_id, u.id, min(u.rank) AS rank, sum(u.posted_change)::bigint AS posted_change, sum(u.held_change)::bigint AS held_change, sum(u.calls)::int AS calls, bool_or(u.asked) AS asked, min(u.call_limit) AS call_limit
      FROM (SELECT e.workspace_id, k.id, path_rank(k.place, cardinality(e.budget_ids)) AS rank, e.posted_change, e.held_change, 0 AS calls, false AS asked, NULL::int AS call_limit
          FROM unnest(ended) e, unnest(e.budget_ids) WITH ORDINALITY k(id, place) WHERE e.new_state IS NOT NULL
        UNION ALL SELECT a.workspace_id, k.id, path_rank(k.place, cardinality(a.budget_ids)), 0, sign * (a.input_cost + a.token_price * a.max_tokens),
            CASE WHEN k.place = 1 AND a.run_id IS NOT NULL AND a.call_no IS NULL THEN sign ELSE 0 END, true, CASE k.place WHEN 1 THEN a.call_limit END
          FROM unnest(asked) a, unnest(a.budget_ids) WITH ORDINALITY k(id, place)) u
      GROUP BY u.workspace_id, u.id),
  l AS (
    UPDATE budgets b SET posted = b.posted + o.posted_change, held = b.held + o.held_change, calls = b.calls + o.calls
      FROM (SELECT * FROM c ORDER BY c.rank, c.workspace_id COLLATE "C", c.id) o
      WHERE b.workspace_id = o.workspace_id AND b.id = o.id
      RETURNING b.*, o.asked, o.asked AND (coalesce(b.posted + b.held > b.limit_amount, false) OR (o.calls > 0 AND b.calls > o.call_limit)) AS is_full)
  SELECT array_agg(ROW(l.id, l.level, l.scope_id, l.meter, l.period, l.limit_version, l.limit_amount, l.posted, l.held, l.calls, l.asked, l.is_full)::changed_level) INTO levels FROM l;
  RETURN levels;
END
$$;

CREATE TYPE spending_answer AS (hold_id text, status text, call_no int, amount bigint, max_tokens int, overrun bigint, detail jsonb);

-- Ends holds whose balances are changed. Each is booked in the periods of its admission, also after they have turned.
-- The run's own balance is locked, so the uses of a request are numbered one at a time.
CREATE FUNCTION end_holds(ended ended_hold[]) RETURNS SETOF spending_answer
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  RETURN QUERY WITH e AS MATERIALIZED (SELECT * FROM unnest(ended) x WHERE x.new_state IS NOT NULL),
  booked AS (
    INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, hold_id, run_id)
      SELECT e.workspace_id, 'model_cost', e.kind, e.posted_change, e.budget_ids, e.hold_id, e.run_id FROM e WHERE e.kind IS NOT NULL),
  kept AS (
    INSERT INTO journal (workspace_id, run_id, request_hash, use_no, hold_id, body, taken_epoch)
      SELECT e.workspace_id, e.run_id, e.request_hash, n.used + row_number() OVER (PARTITION BY e.workspace_id, e.run_id, e.request_hash ORDER BY e.hold_id), e.hold_id, decode(e.body_base64, 'base64'), e.epoch
        FROM e CROSS JOIN LATERAL (SELECT count(*) AS used FROM journal j WHERE j.workspace_id = e.workspace_id AND j.run_id = e.run_id AND j.request_hash = e.request_hash) n
        WHERE e.request_hash IS NOT NULL AND e.run_id IS NOT NULL)
  UPDATE holds h SET state = e.new_state, posted = CASE WHEN e.new_state <> 'VOID' THEN e.charge END, overrun = e.overrun, usage = e.usage, settled_at = clock_now()
    FROM e WHERE h.workspace_id = e.workspace_id AND h.id = e.hold_id
    RETURNING h.id, 'done', NULL::int, e.charge, NULL::int, e.overrun, NULL::jsonb;
END
$$;

-- Books what a provider charged beyond holds. After the platform's row, so that this order is everyone's, too.
CREATE FUNCTION book_overruns(ended ended_hold[]) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  e ended_hold;
  account bigint;
BEGIN
  FOR e IN SELECT * FROM unnest(ended) x WHERE x.overrun > 0 AND x.new_state IS NOT NULL ORDER BY x.workspace_id, x.hold_id LOOP
    INSERT INTO budgets AS b (workspace_id, meter, level, scope_id, period, rank, posted) VALUES (e.workspace_id, 'model_cost', 'overrun', 'platform', 'all', level_rank('overrun'), e.overrun)
      ON CONFLICT (workspace_id, meter, level, scope_id, period) DO UPDATE SET posted = b.posted + e.overrun RETURNING b.id INTO account;
    INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, hold_id, run_id)
      VALUES (e.workspace_id, 'model_cost', 'overrun', e.overrun, ARRAY[account], e.hold_id, e.run_id);
  END LOOP;
END
$$;

-- Of asked holds whose levels are changed, the positions of those that cannot simply be taken in full with all the
-- others: a level that they count against does not fit the sum of all, or is of a shared limit that was lowered below
-- what it had handed out; the lease is over, the workspace is suspended, or the run has not that many calls left.
CREATE FUNCTION asked_in_doubt(asked asked_hold[], levels changed_level[]) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  moment timestamptz := clock_now();
  doubtful bigint[];
BEGIN
  SELECT array_agg(a.n) INTO doubtful FROM unnest(asked) a
    WHERE a.lease_until <= moment OR a.budget_ids && (SELECT coalesce(array_agg(l.id), '{}') FROM unnest(levels) l
      WHERE l.is_full
        OR (l.level IN ('owner', 'platform') AND l.asked AND l.limit_amount IS NOT NULL AND EXISTS (
          SELECT FROM top_budgets t WHERE t.level = l.level AND t.scope_id = l.scope_id AND t.meter = l.meter AND t.period = l.period AND t.granted > t.limit_amount))
        OR (l.level = 'workspace' AND l.asked AND EXISTS (SELECT FROM workspaces w WHERE w.workspace_id = l.scope_id AND w.suspended IS NOT NULL)));
  RETURN doubtful;
END
$$;

-- What a hold saw at its levels, leaf first.
CREATE TYPE seen_levels AS (versions int[], limits bigint[], posted bigint[], held bigint[]);
CREATE TYPE seen_call AS (call_no int, versions int[], limits bigint[], posted bigint[], held bigint[]);

-- Takes holds that all fit in full and that their levels hold already, in one go. `asked` is in the order of n, and each sees what those before it have taken.
CREATE FUNCTION take_holds(asked asked_hold[], levels changed_level[]) RETURNS SETOF spending_answer
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  moment timestamptz := clock_now();
  seen seen_call[];
BEGIN
  -- A narrow pass and an insert that puts it beside what was asked: wide rows, sorted or joined, cost several times as much.
  -- The levels hold all of it: what one saw is that less its own and all that comes after it.
  SELECT array_agg(ROW(i.call_no, i.versions, i.limits, i.posted, i.held)::seen_call ORDER BY i.n) INTO seen FROM (
    SELECT s.n, max(s.call_no) AS call_no, array_agg(s.limit_version ORDER BY s.place) AS versions, array_agg(s.limit_amount ORDER BY s.place) AS limits,
        array_agg(s.posted ORDER BY s.place) AS posted, array_agg(s.held ORDER BY s.place) AS held
      FROM (SELECT a.n, k.place, l.limit_version, l.limit_amount, l.posted, l.held - (sum(a.input_cost + a.token_price * a.max_tokens) OVER w)::bigint AS held,
          CASE WHEN k.place = 1 AND a.run_id IS NOT NULL THEN coalesce(a.call_no, l.calls + 1 - (count(*) FILTER (WHERE a.call_no IS NULL) OVER w)::int) END AS call_no
        FROM unnest(asked) a CROSS JOIN LATERAL unnest(a.budget_ids) WITH ORDINALITY k(id, place) JOIN unnest(levels) l ON l.id = k.id
        WINDOW w AS (PARTITION BY k.id ORDER BY a.n DESC ROWS UNBOUNDED PRECEDING)) s
      GROUP BY s.n) i;
  RETURN QUERY INSERT INTO holds AS h (workspace_id, id, run_id, api_key_id, call_no, attempt_no, epoch, owner_id, state, model, price_version, amount, max_tokens,
      budget_ids, seen_versions, seen_limits, seen_posted, seen_held, held_at, dispatched_at)
    SELECT a.workspace_id, a.hold_id, a.run_id, a.api_key_id, a.number, a.attempt_no, a.epoch, a.owner_id, CASE WHEN a.dispatch THEN 'DISPATCHED' ELSE 'HELD' END, a.model, a.price_version,
        a.input_cost + a.token_price * a.max_tokens, a.max_tokens, a.budget_ids, a.versions, a.limits, a.posted, a.held, moment, CASE WHEN a.dispatch THEN moment END
      FROM ROWS FROM (unnest(asked), unnest(seen)) a(workspace_id, hold_id, run_id, api_key_id, epoch, call_no, attempt_no, owner_id, model, price_version,
        input_cost, token_price, max_tokens, min_tokens, dispatch, lease_until, call_limit, budget_ids, n, number, versions, limits, posted, held)
    RETURNING h.id, 'held', h.call_no, h.amount, h.max_tokens, NULL::bigint, NULL::jsonb;
END
$$;

-- Takes one hold whose balances are locked, or says why not. When the wish does not fit, the output is clamped to what
-- is left, but not below min_tokens.
-- status: 'held' | 'stale' | 'suspended' (detail: the reason) | 'call_limit' (detail: the limit)
--  | 'reserved' | 'exhausted' (detail: see refusal). reserved: it would fit once open holds return; exhausted: it would not.
CREATE FUNCTION take_hold(a asked_hold) RETURNS spending_answer
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  moment timestamptz := clock_now();
  reason text;
  seen budgets[];
  room bigint;
  least_amount bigint := a.input_cost + a.token_price * least(a.max_tokens, a.min_tokens);
  granted int := a.max_tokens;
  amount bigint;
  next_call int := a.call_no;
  refused jsonb;
BEGIN
  IF a.lease_until <= moment THEN RETURN ROW(a.hold_id, 'stale', NULL, NULL, NULL, NULL, NULL)::spending_answer; END IF;
  SELECT w.suspended INTO reason FROM workspaces w WHERE w.workspace_id = a.workspace_id;
  IF reason IS NOT NULL THEN RETURN ROW(a.hold_id, 'suspended', NULL, NULL, NULL, NULL, to_jsonb(reason))::spending_answer; END IF;
  seen := see_levels(a.workspace_id, a.budget_ids, a.input_cost + a.token_price * a.max_tokens);
  -- The run's own row is locked, so call numbers of a run are given one at a time.
  IF a.run_id IS NOT NULL AND next_call IS NULL THEN
    next_call := seen[1].calls + 1;
    IF next_call > a.call_limit THEN RETURN ROW(a.hold_id, 'call_limit', NULL, NULL, NULL, NULL, to_jsonb(a.call_limit))::spending_answer; END IF;
  END IF;
  SELECT min(l.limit_amount - l.posted - l.held) INTO room FROM unnest(seen) l;
  IF room < least_amount THEN
    refused := refusal(seen, least_amount);
    RETURN ROW(a.hold_id, refused->>'status', NULL, NULL, NULL, NULL, refused - 'status')::spending_answer;
  END IF;
  IF room IS NOT NULL AND a.token_price > 0 THEN granted := least(a.max_tokens, (room - a.input_cost) / a.token_price); END IF;
  amount := a.input_cost + a.token_price * granted;
  UPDATE budgets b SET held = b.held + amount, calls = CASE WHEN b.id = a.budget_ids[1] THEN coalesce(greatest(b.calls, next_call), b.calls) ELSE b.calls END
    WHERE b.workspace_id = a.workspace_id AND b.id = ANY (a.budget_ids);
  INSERT INTO holds (workspace_id, id, run_id, api_key_id, call_no, attempt_no, epoch, owner_id, state, model, price_version, amount, max_tokens,
      budget_ids, seen_versions, seen_limits, seen_posted, seen_held, held_at, dispatched_at)
    SELECT a.workspace_id, a.hold_id, a.run_id, a.api_key_id, next_call, a.attempt_no, a.epoch, a.owner_id, CASE WHEN a.dispatch THEN 'DISPATCHED' ELSE 'HELD' END,
        a.model, a.price_version, amount, granted, a.budget_ids, array_agg(l.limit_version ORDER BY l.rank), array_agg(l.limit_amount ORDER BY l.rank),
        array_agg(l.posted ORDER BY l.rank), array_agg(l.held ORDER BY l.rank), moment, CASE WHEN a.dispatch THEN moment END
      FROM unnest(seen) l;
  RETURN ROW(a.hold_id, 'held', next_call, amount, granted, NULL, NULL)::spending_answer;
END
$$;

-- Ends holds and takes holds, of many workspaces, as one transaction: settlements first, for they return money, then
-- what was asked for, each at every level or not at all. A hold that is not answered was asked by nobody who may:
-- the run is not leased to this epoch and token, the key is revoked; or, of a settlement, there is no such hold.
-- settlements: [{workspace_id, hold_id, outcome: 'settled' | 'provisional' | 'void', actual, usage?, request_hash?, body_base64?}], each hold once
-- run_holds, key_holds: see asked_by_runs, asked_by_keys. Amounts nano-USD. NULL: none.
-- status of a settlement: 'done' (amount: the charge, overrun) | 'unchanged' (detail: the state)
-- Its statements are planned once per connection, for planning them anew each time took three quarters of the time. So
-- each must reach its rows by an index, item by item (LATERAL with OFFSET 0 or a lock is not turned around), however small
-- the tables were when it was planned.
CREATE FUNCTION commit_spending(settlements json, run_holds json, key_holds json) RETURNS SETOF spending_answer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_mergejoin = off SET enable_material = off SET join_collapse_limit = 1
AS $$
DECLARE
  ended ended_hold[];
  asked asked_hold[];
  levels changed_level[];
  doubtful bigint[];
  certain asked_hold[];
  a asked_hold;
BEGIN
  -- A third time when the day turned meanwhile: the paths that were opened are those of yesterday then.
  FOR i IN 1 .. 3 LOOP
    asked := NULL;
    IF run_holds IS NOT NULL THEN asked := asked_by_runs(run_holds); END IF;
    IF key_holds IS NOT NULL THEN asked := asked || asked_by_keys(key_holds); END IF;
    PERFORM 1 FROM unnest(asked) x WHERE x.budget_ids IS NULL LIMIT 1;
    EXIT WHEN NOT FOUND;
    PERFORM open_paths(array_agg(x.workspace_id), array_agg(coalesce(x.run_id, x.api_key_id)), 'model_cost') FROM unnest(asked) x WHERE x.budget_ids IS NULL;
  END LOOP;
  IF settlements IS NOT NULL THEN
    ended := holds_to_end(settlements);
    RETURN QUERY SELECT x.hold_id, 'unchanged', NULL::int, NULL::bigint, NULL::int, NULL::bigint, to_jsonb(x.state) FROM unnest(ended) x WHERE x.new_state IS NULL;
  END IF;
  levels := change_levels(ended, asked, 1);
  IF ended IS NOT NULL THEN
    RETURN QUERY SELECT * FROM end_holds(ended);
    PERFORM book_overruns(ended);
  END IF;
  IF asked IS NULL THEN RETURN; END IF;
  doubtful := asked_in_doubt(asked, levels);
  IF doubtful IS NULL THEN
    RETURN QUERY SELECT * FROM take_holds(asked, levels);
    RETURN;
  END IF;
  PERFORM change_levels(NULL, asked, -1);
  SELECT array_agg(x ORDER BY x.n) INTO certain FROM unnest(asked) x WHERE x.n <> ALL (doubtful);
  IF certain IS NOT NULL THEN RETURN QUERY SELECT * FROM take_holds(certain, change_levels(NULL, certain, 1)); END IF;
  -- Chunks of shared limits are handed out one by one; their rows are locked in the order of all before the first.
  PERFORM 1 FROM top_budgets t WHERE (t.level, t.scope_id, t.meter, t.period) IN (
      SELECT b.level, b.scope_id, b.meter, b.period FROM unnest(asked) x CROSS JOIN LATERAL unnest(x.budget_ids) i(id) JOIN budgets b ON b.workspace_id = x.workspace_id AND b.id = i.id
        WHERE x.n = ANY (doubtful) AND b.level IN ('owner', 'platform') AND b.limit_amount IS NOT NULL)
    ORDER BY t.level, t.scope_id, t.meter, t.period FOR UPDATE;
  FOR a IN SELECT * FROM unnest(asked) x WHERE x.n = ANY (doubtful) ORDER BY x.n LOOP
    RETURN NEXT take_hold(a);
  END LOOP;
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

-- The balances of one meter that a spender counts against today, opened when they are not there yet.
CREATE FUNCTION spend_path(workspace text, spender text, a_meter text) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  ids bigint[];
BEGIN
  -- A third time when the day turned meanwhile.
  FOR i IN 1 .. 3 LOOP
    SELECT p.budget_ids INTO ids FROM spend_paths p WHERE p.workspace_id = workspace AND p.spender_id = spender AND p.meter = a_meter AND p.day = spend_day();
    EXIT WHEN ids IS NOT NULL;
    PERFORM open_paths(ARRAY[workspace], ARRAY[spender], a_meter);
  END LOOP;
  RETURN ids;
END
$$;

-- Books agent time on balances that are locked, with a line.
CREATE FUNCTION book_time(workspace text, ids bigint[], change_ms bigint, line ledger_lines) RETURNS void
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  UPDATE budgets b SET posted = b.posted + change_ms WHERE b.workspace_id = workspace AND b.id = ANY (ids);
  INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, run_id, slice_no)
    VALUES (workspace, 'agent_time', line.kind, change_ms, ids, line.run_id, line.slice_no);
END
$$;

-- Books a slice of agent time ahead of its use, at every level, or nothing. Near a limit the slice is shorter, but a
-- slice below a second is refused: it would be gone before the work that it is for has begun.
-- `booking_no` counts the bookings of the epoch from 1, so that whoever lost an answer asks again under the same number
-- and is told what was booked then.
-- -> {status: 'granted', ms} | {status: 'stale'} | {status: 'exhausted', level, scope_id, period, limit, posted, held, needed}
--  | {status: 'suspended', reason}   the whole workspace is stopped
CREATE FUNCTION lease_agent_time(workspace text, run text, an_epoch int, booking_no int, slice_ms bigint) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  ids bigint[];
  seen budgets[];
  room bigint;
  granted bigint;
  booked int;
  reason text;
  line ledger_lines;
BEGIN
  IF NOT coalesce(slice_ms BETWEEN 1 AND 86400000, false) THEN
    RAISE EXCEPTION 'lease_agent_time: impossible slice %', slice_ms USING ERRCODE = 'GH002';
  END IF;
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN '{"status":"stale"}'; END IF;
  ids := spend_path(workspace, run, 'agent_time');
  PERFORM lock_budgets(array_fill(workspace, ARRAY[cardinality(ids)]), ids);
  seen := see_levels(workspace, ids, slice_ms);
  -- Slices of a run are booked under its own row, which is locked by now: a repetition sees what the first one did.
  SELECT count(*), max(s.granted_ms) FILTER (WHERE s.n = booking_no) INTO booked, granted
    FROM (SELECT x.granted_ms, row_number() OVER (ORDER BY x.slice_no) AS n FROM time_slices x
      WHERE x.workspace_id = workspace AND x.run_id = run AND x.epoch = an_epoch) s;
  IF granted IS NOT NULL THEN RETURN jsonb_build_object('status', 'granted', 'ms', granted); END IF;
  -- What was booked before the suspension is honoured, like an open hold.
  SELECT w.suspended INTO reason FROM workspaces w WHERE w.workspace_id = workspace;
  IF reason IS NOT NULL THEN RETURN jsonb_build_object('status', 'suspended', 'reason', reason); END IF;
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
  INSERT INTO time_slices (workspace_id, run_id, slice_no, epoch, granted_ms, budget_ids, seen_versions, seen_limits, seen_posted, seen_held)
    SELECT workspace, run, line.slice_no, an_epoch, granted, ids, array_agg(l.limit_version ORDER BY l.rank), array_agg(l.limit_amount ORDER BY l.rank),
      array_agg(l.posted ORDER BY l.rank), array_agg(l.held ORDER BY l.rank) FROM unnest(seen) l;
  line.kind := 'agent_time';
  line.run_id := run;
  PERFORM book_time(workspace, ids, granted, line);
  RETURN jsonb_build_object('status', 'granted', 'ms', granted);
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
    PERFORM 1 FROM commit_spending(json_build_array(json_build_object('workspace_id', h.workspace_id, 'hold_id', h.id, 'actual', 0,
      'outcome', CASE h.state WHEN 'HELD' THEN 'void' ELSE 'provisional' END)), NULL, NULL) x WHERE x.status = 'done';
    IF FOUND THEN
      IF h.state = 'HELD' THEN voided := voided + 1; ELSE provisional := provisional + 1; END IF;
    END IF;
  END LOOP;
  DELETE FROM processes p WHERE p.seen_at < clock_now() - interval '1 day';
  RETURN NEXT;
END
$$;

GRANT EXECUTE ON FUNCTION limit_lock(text, text, text, text), level_rank(text, int), path_rank(bigint, int), open_budgets(text, spent_level[]), grant_chunk(budgets, bigint),
  spender_levels(text, text), spend_day(), open_paths(text[], text[], text), lock_budgets(text[], bigint[]), is_overcommitted(budgets), see_levels(text, bigint[], bigint),
  refusal(budgets[], bigint), asked_by_runs(json), asked_by_keys(json), holds_to_end(json), change_levels(ended_hold[], asked_hold[], int), end_holds(ended_hold[]), book_overruns(ended_hold[]),
  asked_in_doubt(asked_hold[], changed_level[]), take_holds(asked_hold[], changed_level[]), take_hold(asked_hold), spend_path(text, text, text), book_time(text, bigint[], bigint, ledger_lines) TO guildhall_definer;
GRANT EXECUTE ON FUNCTION mark_undelivered(text, text, int, text, text) TO guildhall_ledger;
GRANT EXECUTE ON FUNCTION set_top_limit(text, text, text, bigint, text) TO guildhall_platform;
