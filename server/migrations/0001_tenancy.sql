-- Roles (created by the migrator, since they belong to the cluster):
--   guildhall_app       serves requests of one workspace at a time, under row-level security
--   guildhall_ledger    may only execute the reviewed SECURITY DEFINER functions
--   guildhall_platform  jobs that look across workspaces (outbox relay, verify, sign-in): a short list of callers
--   guildhall_definer   owns those functions; nobody can log in as it
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO guildhall_app, guildhall_ledger, guildhall_platform, guildhall_definer;

-- All SQL asks this function for the time, so that a test can give one database its own clock.
CREATE FUNCTION clock_now() RETURNS timestamptz
  LANGUAGE sql VOLATILE PARALLEL SAFE
  AS 'SELECT clock_timestamp()';

-- A transaction without a workspace must fail, not see everything or nothing. On a pooled connection that was used
-- before, a transaction-local setting reads '' instead of NULL.
CREATE FUNCTION current_workspace() RETURNS text
  LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
  workspace text := current_setting('app.workspace_id', true);
BEGIN
  IF workspace IS NULL OR workspace = '' THEN
    RAISE EXCEPTION 'this transaction names no workspace' USING ERRCODE = 'GH001';
  END IF;
  RETURN workspace;
END
$$;

-- The one way a tenant table is made: forced row-level security, the same policy for reading and writing, the grants
-- that the app role needs, read-only sight for the platform role, and full sight for the definer role where its
-- functions work on the table.
CREATE PROCEDURE make_tenant_table(table_name regclass, app_grants text, definer_grants text DEFAULT '', platform_grants text DEFAULT 'SELECT')
  LANGUAGE plpgsql
AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', table_name);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', table_name);
  EXECUTE format('CREATE POLICY workspace_only ON %s TO guildhall_app USING (workspace_id = (SELECT current_workspace())) WITH CHECK (workspace_id = (SELECT current_workspace()))', table_name);
  EXECUTE format('GRANT %s ON %s TO guildhall_app', app_grants, table_name);
  EXECUTE format('CREATE POLICY platform_jobs ON %s TO guildhall_platform USING (true) WITH CHECK (true)', table_name);
  EXECUTE format('GRANT %s ON %s TO guildhall_platform', platform_grants, table_name);
  IF definer_grants <> '' THEN
    EXECUTE format('CREATE POLICY reviewed_functions ON %s TO guildhall_definer USING (true) WITH CHECK (true)', table_name);
    EXECUTE format('GRANT %s ON %s TO guildhall_definer', definer_grants, table_name);
  END IF;
END
$$;

-- Called at the end of a migration that makes functions with definer rights: the role that nobody logs in as owns them,
-- and nobody may execute them but who is granted it.
CREATE PROCEDURE own_definer_functions()
  LANGUAGE plpgsql
AS $$
DECLARE
  f regprocedure;
BEGIN
  GRANT CREATE ON SCHEMA public TO guildhall_definer;
  FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND p.proowner <> 'guildhall_definer'::regrole LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('ALTER FUNCTION %s OWNER TO guildhall_definer', f);
  END LOOP;
  REVOKE CREATE ON SCHEMA public FROM guildhall_definer;
END
$$;

-- Not tenant tables: they exist before a workspace is known. Only the platform role sees them.
CREATE TABLE billing_accounts (
  id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now()
);

CREATE TABLE users (
  id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  email text UNIQUE,
  created_at timestamptz NOT NULL DEFAULT clock_now()
);

CREATE TABLE workspaces (
  workspace_id text COLLATE "C" PRIMARY KEY CHECK (workspace_id ~ '^ws_[0-9a-z]+$'),
  name text NOT NULL,
  billing_account_id text COLLATE "C" NOT NULL REFERENCES billing_accounts,
  plan text NOT NULL,
  -- Why it may not spend at present, for example margin_guard or operator; NULL: it may.
  suspended text,
  created_at timestamptz NOT NULL DEFAULT clock_now()
);
CALL make_tenant_table('workspaces', 'SELECT', 'SELECT, UPDATE', 'SELECT, INSERT, UPDATE');

CREATE TABLE memberships (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  user_id text COLLATE "C" NOT NULL REFERENCES users,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  -- Access tokens carry the version that they were issued under: a higher one ends them before their time.
  session_version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, user_id)
);
CALL make_tenant_table('memberships', 'SELECT, INSERT, UPDATE, DELETE', '', 'SELECT, INSERT, UPDATE (session_version)');

-- One-time sign-in links: the link carries the secret, the table only its hash.
CREATE TABLE sign_in_links (
  token_hash text COLLATE "C" PRIMARY KEY,
  user_id text COLLATE "C" NOT NULL REFERENCES users,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);

-- Rotating refresh tokens. Reuse of a replaced token revokes its family, except within the grace in which the
-- successor is answered again (a browser that lost the response is not an attacker). A successor inherits the end of
-- its family: rotation does not prolong a session.
CREATE TABLE refresh_tokens (
  token_hash text COLLATE "C" PRIMARY KEY,
  family_id text COLLATE "C" NOT NULL,
  user_id text COLLATE "C" NOT NULL REFERENCES users,
  issued_at timestamptz NOT NULL DEFAULT clock_now(),
  expires_at timestamptz NOT NULL,
  replaced_at timestamptz,
  revoked_at timestamptz
);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);

GRANT SELECT, INSERT, UPDATE ON billing_accounts, users, sign_in_links, refresh_tokens TO guildhall_platform;
GRANT DELETE ON sign_in_links, refresh_tokens TO guildhall_platform;

-- The key itself names its workspace, so that it is looked up under row-level security. No foreign key to the
-- membership: when its creator leaves, a key stays listed and is worth nothing.
CREATE TABLE api_keys (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  secret_hash text NOT NULL,
  scopes text[] NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  PRIMARY KEY (workspace_id, id)
);
CALL make_tenant_table('api_keys', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE');

-- Who did what: insert-only, hash-chained per workspace. The head row serialises the chain.
CREATE TABLE audit_heads (
  workspace_id text COLLATE "C" PRIMARY KEY REFERENCES workspaces,
  last_seq bigint NOT NULL DEFAULT 0,
  last_hash text NOT NULL DEFAULT ''
);
CALL make_tenant_table('audit_heads', 'SELECT, INSERT, UPDATE', '', 'SELECT, INSERT, UPDATE');

CREATE TABLE audit_lines (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  origin text NOT NULL,
  before_hash text,
  after_hash text,
  previous_hash text NOT NULL,
  hash text NOT NULL,
  PRIMARY KEY (workspace_id, seq)
);
CALL make_tenant_table('audit_lines', 'SELECT, INSERT', '', 'SELECT, INSERT');

CREATE FUNCTION audit_hash(previous_hash text, seq bigint, at timestamptz, actor text, action text, target text, origin text, before_hash text, after_hash text) RETURNS text
  -- Not in SQL, which would be planned at each call.
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = public, pg_temp
AS $$
BEGIN
  RETURN encode(sha256(convert_to(jsonb_build_array(previous_hash, seq, extract(epoch FROM at)::text, actor, action, target, origin, before_hash, after_hash)::text, 'UTF8')), 'hex');
END
$$;

-- Runs with the caller's rights: the line belongs to the caller's transaction and to its workspace only. The platform
-- role may write too, for sign-in begins before a workspace is known; it names the workspace first, like everybody.
CREATE FUNCTION append_audit(actor text, action text, target text, origin text, before_hash text, after_hash text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  head audit_heads;
  moment timestamptz := clock_now();
  line_hash text;
BEGIN
  SELECT * INTO head FROM audit_heads h WHERE h.workspace_id = workspace FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    INSERT INTO audit_heads (workspace_id) VALUES (workspace) ON CONFLICT DO NOTHING;
    SELECT * INTO head FROM audit_heads h WHERE h.workspace_id = workspace FOR NO KEY UPDATE;
  END IF;
  line_hash := audit_hash(head.last_hash, head.last_seq + 1, moment, actor, action, target, origin, before_hash, after_hash);
  INSERT INTO audit_lines VALUES (workspace, head.last_seq + 1, moment, actor, action, target, origin, before_hash, after_hash, head.last_hash, line_hash);
  UPDATE audit_heads h SET last_seq = head.last_seq + 1, last_hash = line_hash WHERE h.workspace_id = workspace;
  RETURN head.last_seq + 1;
END
$$;

-- Recomputes the chain of the workspace. broken_at: the first line that does not follow from the one before it, or
-- the line after the last when the head tells of more; NULL when the chain is whole.
CREATE FUNCTION verify_audit() RETURNS TABLE (lines bigint, broken_at bigint)
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  WITH chain AS (
    SELECT l.seq, l.hash, row_number() OVER ordered AS place, l.previous_hash = lag(l.hash, 1, '') OVER ordered AS linked,
        l.hash = audit_hash(l.previous_hash, l.seq, l.at, l.actor, l.action, l.target, l.origin, l.before_hash, l.after_hash) AS genuine
      FROM audit_lines l WHERE l.workspace_id = current_workspace() WINDOW ordered AS (ORDER BY l.seq)
  ), head AS (
    SELECT coalesce(max(h.last_seq), 0) AS last_seq, coalesce(max(h.last_hash), '') AS last_hash FROM audit_heads h WHERE h.workspace_id = current_workspace()
  )
  SELECT (SELECT count(*) FROM chain), coalesce(
    (SELECT min(c.place) FROM chain c WHERE NOT (c.seq = c.place AND c.linked AND c.genuine)),
    (SELECT (SELECT count(*) FROM chain) + 1 FROM head h WHERE h.last_seq <> (SELECT count(*) FROM chain)
      OR h.last_hash <> coalesce((SELECT c.hash FROM chain c ORDER BY c.seq DESC LIMIT 1), '')))
$$;
GRANT EXECUTE ON FUNCTION audit_hash, append_audit TO guildhall_app, guildhall_platform;
GRANT EXECUTE ON FUNCTION verify_audit TO guildhall_app;

-- Facts to be told to other parts after commit. `txid` lets a reader stop below the oldest open transaction, so that a
-- row that commits late is never skipped.
-- No foreign key: workspaces are never removed, and its check would lock the one row of the workspace that all its
-- tasks share, each time.
CREATE TABLE outbox (
  workspace_id text COLLATE "C" NOT NULL,
  position bigint GENERATED ALWAYS AS IDENTITY,
  topic text NOT NULL,
  payload jsonb NOT NULL,
  txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, position)
);
CREATE INDEX outbox_position ON outbox (position);
-- UPDATE only to lock rows while they are handed on.
CALL make_tenant_table('outbox', 'INSERT', 'INSERT', 'SELECT, UPDATE, DELETE');

-- Answers to repeated POSTs. Scoped to principal and route: the same key of somebody else is another key.
CREATE TABLE idempotency_keys (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  principal text NOT NULL,
  route text NOT NULL,
  key text NOT NULL,
  request_hash text NOT NULL,
  status int NOT NULL,
  response jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, principal, route, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CALL make_tenant_table('idempotency_keys', 'SELECT, INSERT', '', 'SELECT, DELETE');
