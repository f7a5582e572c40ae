-- Processes that are known to have ended: somebody has seen their exit, or has taken over their place. Silence is no
-- end, for a process that was only frozen wakes up and sends what it has marked as sent. Their names are never used again.
CREATE TABLE ended_processes (
  id text COLLATE "C" PRIMARY KEY,
  ended_at timestamptz NOT NULL DEFAULT clock_now()
);
GRANT SELECT, INSERT ON ended_processes TO guildhall_definer;
GRANT SELECT ON ended_processes TO guildhall_platform;

-- A process has ended. What it had sent is posted at the next reaping; what the provider reports of it is final from now on.
CREATE FUNCTION process_ended(process text) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  DELETE FROM processes WHERE id = process;
  INSERT INTO ended_processes (id) VALUES (process) ON CONFLICT DO NOTHING
$$;

-- Ends a provisional charge at the provider's figure, never above what was held; the excess goes to the overrun account.
-- final_before NULL: the figure is of this very request, which is not charged a second time. Otherwise it is what a report
-- leaves for it that is complete for all requests that began before then, by this database's clock. Such a report says
-- something of a request only when the process that may have sent it had ended by then.
-- -> {status: 'done', posted, overrun} | {status: 'unchanged', state} | {status: 'not_final'}
CREATE FUNCTION reconcile_hold(workspace text, hold text, charged bigint, final_before timestamptz) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  h holds;
  answer jsonb;
BEGIN
  IF NOT coalesce(charged >= 0, false) THEN
    RAISE EXCEPTION 'reconcile_hold: impossible charge %', charged USING ERRCODE = 'GH002';
  END IF;
  SELECT * INTO h FROM holds x WHERE x.workspace_id = workspace AND x.id = hold FOR NO KEY UPDATE;
  IF h.state IS DISTINCT FROM 'PROVISIONAL' THEN RETURN jsonb_build_object('status', 'unchanged', 'state', h.state); END IF;
  IF final_before IS NOT NULL AND NOT (final_before <= clock_now()
    AND EXISTS (SELECT FROM ended_processes p WHERE p.id = h.owner_id AND p.ended_at < final_before)) THEN
    RETURN '{"status":"not_final"}';
  END IF;
  SELECT jsonb_build_object('status', s.status, 'posted', s.amount, 'overrun', s.overrun) INTO answer
    FROM commit_spending(json_build_array(json_build_object('workspace_id', workspace, 'hold_id', hold, 'outcome', 'settled', 'actual', charged)), NULL, NULL) s;
  RETURN answer;
END
$$;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION process_ended(text), reconcile_hold(text, text, bigint, timestamptz) TO guildhall_ledger;
