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
