-- Model calls that were refused for their budget: what the admission said, and what stood in the balance right after it,
-- so that a cap which refuses while money is left is seen (I10). Written when a caller is refused, never when a call is
-- admitted, and not more often than a gateway cares to (a client may ask for ever); forgotten after some days.
-- found_*: of the account that refused; for a level above the workspaces, the shared limit and what all of them spent.
CREATE TABLE refusals (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  id bigint GENERATED ALWAYS AS IDENTITY,
  at timestamptz NOT NULL DEFAULT clock_now(),
  model text NOT NULL,
  status text NOT NULL CHECK (status IN ('reserved', 'exhausted')),
  level text NOT NULL,
  scope_id text COLLATE "C" NOT NULL,
  period text COLLATE "C" NOT NULL,
  limit_amount bigint NOT NULL,
  posted bigint NOT NULL,
  held bigint NOT NULL,
  needed bigint NOT NULL,
  input_nano_usd bigint NOT NULL,
  output_nano_usd_per_token bigint NOT NULL,
  max_tokens int NOT NULL,
  min_tokens int NOT NULL,
  waited_ms bigint NOT NULL,
  wait_ms bigint NOT NULL,
  found_limit bigint,
  found_posted bigint,
  PRIMARY KEY (workspace_id, id)
);
CREATE INDEX refusals_at ON refusals (at);
CALL make_tenant_table('refusals', 'SELECT', 'SELECT, INSERT', 'SELECT, DELETE');

-- item: {workspace_id, model, status, level, scope_id, period, limit, posted, held, needed, input_nano_usd,
--        output_nano_usd_per_token, max_tokens, min_tokens, waited_ms, wait_ms}
CREATE FUNCTION record_refusal(item jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  INSERT INTO refusals (workspace_id, model, status, level, scope_id, period, limit_amount, posted, held, needed,
      input_nano_usd, output_nano_usd_per_token, max_tokens, min_tokens, waited_ms, wait_ms, found_limit, found_posted)
    SELECT r.workspace_id, r.model, r.status, r.level, r.scope_id, r.period, r."limit", r.posted, r.held, r.needed,
        r.input_nano_usd, r.output_nano_usd_per_token, r.max_tokens, r.min_tokens, r.waited_ms, r.wait_ms,
        CASE WHEN r.level IN ('owner', 'platform') THEN
            (SELECT t.limit_amount FROM top_budgets t WHERE t.level = r.level AND t.scope_id = r.scope_id AND t.meter = 'model_cost' AND t.period = r.period)
          ELSE b.limit_amount END,
        CASE WHEN r.level IN ('owner', 'platform') THEN
            (SELECT sum(x.posted) FROM budgets x WHERE x.level = r.level AND x.scope_id = r.scope_id AND x.meter = 'model_cost' AND x.period = r.period
              AND x.level IN ('owner', 'platform'))
          ELSE b.posted END
      FROM jsonb_to_record(item) AS r(workspace_id text, model text, status text, level text, scope_id text, period text, "limit" bigint, posted bigint,
          held bigint, needed bigint, input_nano_usd bigint, output_nano_usd_per_token bigint, max_tokens int, min_tokens int, waited_ms bigint, wait_ms bigint)
        LEFT JOIN budgets b ON b.workspace_id = r.workspace_id AND b.meter = 'model_cost' AND b.level = r.level AND b.scope_id = r.scope_id AND b.period = r.period
$$;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION record_refusal(jsonb) TO guildhall_ledger;

-- For the reconcile job, and for checks of what is new: small indexes that no admission has to read or to search.
CREATE INDEX holds_provisional ON holds (workspace_id, id) WHERE state = 'PROVISIONAL';
CREATE INDEX holds_by_time ON holds USING brin (held_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ledger_lines_by_time ON ledger_lines USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX time_slices_by_time ON time_slices USING brin (granted_at) WITH (pages_per_range = 32, autosummarize = on);
