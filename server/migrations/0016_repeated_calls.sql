-- Calls that are repeated while they are still being answered elsewhere.

-- Which calls of a run are still being answered where the asking process does not hear of it, and could be the one that
-- this token's attempt now repeats: of earlier attempts anywhere, and of its own at other gateways. Nothing says which
-- request a hold is for, so these are all of the same model that are not longer than what is asked for.
-- -> their holds, and whether they are of the same attempt; none for a token that is not valid
CREATE FUNCTION open_calls_elsewhere(workspace text, run text, an_epoch int, a_token_hash text, process text, a_model text, most_tokens int)
  RETURNS TABLE (hold_id text, same_attempt boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  SELECT h.id, h.epoch = an_epoch FROM holds h
    WHERE h.workspace_id = workspace AND h.run_id = run AND h.state IN ('HELD', 'DISPATCHED') AND h.model = a_model AND h.max_tokens <= most_tokens
      AND (h.epoch < an_epoch OR h.owner_id <> process) AND run_active(workspace, run, an_epoch, a_token_hash)
    ORDER BY h.call_no, h.attempt_no LIMIT 50
$$;

-- The stored answer to a call that this attempt repeated while it was still being answered, so that its client cannot have
-- the whole of it, whether or not the gateway that brought it has noticed. Once per attempt and answer.
ALTER TABLE journal ADD COLUMN missed_epoch int NOT NULL DEFAULT 0;
CREATE FUNCTION take_missed(workspace text, run text, an_epoch int, a_token_hash text, a_request_hash text, hold_ids text[])
  RETURNS TABLE (hold_id text, body bytea)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  next_use int;
BEGIN
  IF NOT run_active(workspace, run, an_epoch, a_token_hash) THEN RETURN; END IF;
  -- Of several who ask at once, the second waits for the row and finds it taken.
  SELECT x.use_no INTO next_use FROM journal x WHERE x.workspace_id = workspace AND x.run_id = run AND x.request_hash = a_request_hash AND x.hold_id = ANY (hold_ids)
    AND x.missed_epoch < an_epoch ORDER BY x.use_no LIMIT 1 FOR UPDATE;
  RETURN QUERY UPDATE journal j SET missed_epoch = an_epoch, taken_epoch = greatest(j.taken_epoch, an_epoch)
    WHERE j.workspace_id = workspace AND j.run_id = run AND j.request_hash = a_request_hash AND j.use_no = next_use
    RETURNING j.hold_id, j.body;
END
$$;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION open_calls_elsewhere(text, text, int, text, text, text, int), take_missed(text, text, int, text, text, text[]) TO guildhall_ledger;
