-- Models that no call may use with these features, because one such call cost more than its bound: the price table or
-- the bound is wrong. All gateways keep to it until an operator lifts it. Of the installation, not of a workspace.
CREATE TABLE frozen_models (
  -- '<model> + <feature> + ...', as the gateway names it.
  combination text COLLATE "C" NOT NULL CHECK (length(combination) BETWEEN 1 AND 300),
  frozen_at timestamptz NOT NULL DEFAULT clock_now(),
  hold_id text COLLATE "C" NOT NULL,
  overrun_nano_usd bigint NOT NULL CHECK (overrun_nano_usd > 0),
  lifted_at timestamptz,
  lifted_by text,
  PRIMARY KEY (combination, frozen_at),
  CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE UNIQUE INDEX frozen_models_once ON frozen_models (combination) WHERE lifted_at IS NULL;
GRANT SELECT, INSERT, UPDATE ON frozen_models TO guildhall_definer;
GRANT SELECT ON frozen_models TO guildhall_platform;

-- Who comes second changes nothing.
CREATE FUNCTION freeze_model(a_combination text, a_hold text, an_overrun bigint) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  INSERT INTO frozen_models (combination, hold_id, overrun_nano_usd) VALUES (a_combination, a_hold, an_overrun)
    ON CONFLICT (combination) WHERE lifted_at IS NULL DO NOTHING
$$;

CREATE FUNCTION list_frozen_models() RETURNS SETOF frozen_models
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  SELECT * FROM frozen_models WHERE lifted_at IS NULL ORDER BY combination
$$;

-- -> false: it was not frozen
CREATE FUNCTION lift_frozen_model(a_combination text, who text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
  UPDATE frozen_models SET lifted_at = clock_now(), lifted_by = who WHERE combination = a_combination AND lifted_at IS NULL;
  RETURN FOUND;
END
$$;

CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION freeze_model(text, text, bigint), list_frozen_models() TO guildhall_ledger;
GRANT EXECUTE ON FUNCTION list_frozen_models(), lift_frozen_model(text, text) TO guildhall_platform;
