-- What lies in the file store: each content once per workspace, whoever names it. It is counted from before its first
-- byte is sent until it has been taken out, so the sum is never below what the store holds for the workspace, except for
-- what is being removed.
--
-- The name in the store has a number that is used once. So whoever removes an object of that name, however late, cannot
-- hit the same content that came again meanwhile.
CREATE SEQUENCE file_object_no;
CREATE TABLE file_contents (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  sha256 text COLLATE "C" NOT NULL,
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  object text COLLATE "C" NOT NULL,
  -- When it was last asked for. What nothing names is kept for a while after that, for its name may be on its way.
  touched_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, sha256)
);
CALL make_tenant_table('file_contents', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE');

-- Counted, and on its way into the store: everybody who needs it sends it, and nothing can name it. That is why it is
-- not a column of the other table.
CREATE TABLE pending_contents (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  sha256 text COLLATE "C" NOT NULL,
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  object text COLLATE "C" NOT NULL,
  touched_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, sha256)
);
CALL make_tenant_table('pending_contents', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE');

-- The row that everything which adds or takes out contents of a workspace locks first.
CREATE TABLE workspace_storage (
  workspace_id text COLLATE "C" PRIMARY KEY REFERENCES workspaces,
  used_bytes bigint NOT NULL DEFAULT 0 CHECK (used_bytes >= 0)
);
CALL make_tenant_table('workspace_storage', 'SELECT', 'SELECT, INSERT, UPDATE');

-- What the operator agreed with a workspace about its storage; the highest version is in force.
CREATE TABLE storage_agreements (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  version int NOT NULL,
  -- False gives the installation's quota back.
  is_own boolean NOT NULL,
  -- NULL is no quota.
  quota_bytes bigint CHECK (quota_bytes >= 0),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, version),
  CHECK (is_own OR quota_bytes IS NULL)
);
CALL make_tenant_table('storage_agreements', 'SELECT', 'SELECT', 'SELECT, INSERT');

-- The quota in force for the transaction's workspace, which is the installation's when nothing else was agreed. NULL is none.
CREATE FUNCTION storage_quota(installation bigint) RETURNS bigint
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  SELECT CASE WHEN a.is_own THEN a.quota_bytes ELSE installation END
    FROM (VALUES (1)) one LEFT JOIN (SELECT x.is_own, x.quota_bytes FROM storage_agreements x
      WHERE x.workspace_id = current_workspace() ORDER BY x.version DESC LIMIT 1) a ON true
$$;
GRANT EXECUTE ON FUNCTION storage_quota TO guildhall_app, guildhall_definer, guildhall_platform;

-- Objects that nothing names any more, until the store has said that they are gone.
CREATE TABLE removed_objects (
  workspace_id text COLLATE "C" NOT NULL REFERENCES workspaces,
  object text COLLATE "C" NOT NULL,
  removed_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, object)
);
CALL make_tenant_table('removed_objects', 'SELECT', 'SELECT, INSERT, DELETE');

-- What there is already lies under its SHA-256 alone.
INSERT INTO file_contents (workspace_id, sha256, size_bytes, object)
  SELECT DISTINCT ON (n.workspace_id, n.sha256) n.workspace_id, n.sha256, n.size_bytes, n.sha256
    FROM (SELECT workspace_id, sha256, size_bytes FROM upload_files UNION ALL SELECT workspace_id, sha256, size_bytes FROM artifacts) n
    ORDER BY n.workspace_id, n.sha256;
INSERT INTO workspace_storage (workspace_id, used_bytes) SELECT c.workspace_id, sum(c.size_bytes) FROM file_contents c GROUP BY c.workspace_id;

-- A name keeps its content: the key is checked under a lock that taking the content out waits for.
ALTER TABLE upload_files ADD FOREIGN KEY (workspace_id, sha256) REFERENCES file_contents;
ALTER TABLE artifacts ADD FOREIGN KEY (workspace_id, sha256) REFERENCES file_contents;
CREATE INDEX upload_files_content ON upload_files (workspace_id, sha256);
CREATE INDEX artifacts_content ON artifacts (workspace_id, sha256);
CREATE POLICY reviewed_functions ON upload_files TO guildhall_definer USING (true) WITH CHECK (true);
CREATE POLICY reviewed_functions ON artifacts TO guildhall_definer USING (true) WITH CHECK (true);
GRANT SELECT ON upload_files, artifacts TO guildhall_definer;
GRANT USAGE ON SEQUENCE file_object_no TO guildhall_definer;

-- The folder of a run as it was after its last stored step, without the inputs, which lie in their upload: where another
-- worker goes on from. One state per run, changed in the transaction of the step; forgotten when the run is over.
CREATE TABLE run_snapshots (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  step_no int NOT NULL,
  epoch int NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT clock_now(),
  PRIMARY KEY (workspace_id, run_id),
  FOREIGN KEY (workspace_id, run_id) REFERENCES runs
);
CALL make_tenant_table('run_snapshots', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE, DELETE');

CREATE TABLE run_files (
  workspace_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  path text COLLATE "C" NOT NULL,
  -- NULL is an empty folder; the others follow from their files.
  sha256 text COLLATE "C",
  size_bytes bigint NOT NULL,
  mode int NOT NULL CHECK (mode BETWEEN 0 AND 511),
  PRIMARY KEY (workspace_id, run_id, path),
  FOREIGN KEY (workspace_id, run_id) REFERENCES run_snapshots,
  FOREIGN KEY (workspace_id, sha256) REFERENCES file_contents
);
CREATE INDEX run_files_content ON run_files (workspace_id, sha256);
CALL make_tenant_table('run_files', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT, DELETE');

-- Brings the stored state of a run's folder to that after a step, fenced like the step: only the attempt that holds the
-- lease can. changed: [{path, sha256, size_bytes, mode}, ...] -> false when the attempt is stale, and then nothing was written
CREATE FUNCTION record_snapshot(run text, an_epoch int, a_step_no int, changed jsonb, removed text[]) RETURNS boolean
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
BEGIN
  PERFORM 1 FROM runs r WHERE r.workspace_id = workspace AND r.id = run AND r.epoch = an_epoch AND r.state = 'claimed' AND r.lease_until > clock_now() FOR SHARE;
  IF NOT FOUND THEN RETURN false; END IF;
  INSERT INTO run_snapshots (workspace_id, run_id, step_no, epoch) VALUES (workspace, run, a_step_no, an_epoch)
    ON CONFLICT (workspace_id, run_id) DO UPDATE SET step_no = excluded.step_no, epoch = excluded.epoch, taken_at = excluded.taken_at;
  DELETE FROM run_files f WHERE f.workspace_id = workspace AND f.run_id = run AND f.path = ANY (removed);
  INSERT INTO run_files (workspace_id, run_id, path, sha256, size_bytes, mode)
    SELECT workspace, run, c.path, c.sha256, c.size_bytes, c.mode FROM jsonb_to_recordset(changed) AS c(path text, sha256 text, size_bytes bigint, mode int)
    ON CONFLICT (workspace_id, run_id, path) DO UPDATE SET sha256 = excluded.sha256, size_bytes = excluded.size_bytes, mode = excluded.mode;
  RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION record_snapshot TO guildhall_app;

-- Nobody goes on with a run that is over. -> how many snapshots were forgotten
CREATE FUNCTION forget_snapshots(at_most int) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  s record;
  forgotten int := 0;
BEGIN
  FOR s IN SELECT x.workspace_id, x.run_id FROM run_snapshots x JOIN runs r ON r.workspace_id = x.workspace_id AND r.id = x.run_id
    WHERE r.state = 'ended' LIMIT at_most FOR UPDATE OF x SKIP LOCKED
  LOOP
    DELETE FROM run_files f WHERE f.workspace_id = s.workspace_id AND f.run_id = s.run_id;
    DELETE FROM run_snapshots x WHERE x.workspace_id = s.workspace_id AND x.run_id = s.run_id;
    forgotten := forgotten + 1;
  END LOOP;
  RETURN forgotten;
END
$$;

-- Makes room for contents of the transaction's workspace, all or none, before they are sent.
-- wanted: [{sha256, size_bytes}, ...], each once; quota: the installation's, NULL is none
-- -> {status: 'reserved', missing: [{sha256, object}]}: these are to be sent | {status: 'over_quota', quota_bytes, used_bytes, needed_bytes}
CREATE FUNCTION reserve_contents(wanted jsonb, quota bigint) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
  s workspace_storage;
  needed bigint;
BEGIN
  INSERT INTO workspace_storage (workspace_id) VALUES (workspace) ON CONFLICT DO NOTHING;
  SELECT * INTO s FROM workspace_storage x WHERE x.workspace_id = workspace FOR UPDATE;
  quota := storage_quota(quota);
  SELECT coalesce(sum(x.size_bytes), 0) INTO needed FROM jsonb_to_recordset(wanted) AS x(sha256 text, size_bytes bigint)
    WHERE NOT EXISTS (SELECT FROM file_contents c WHERE c.workspace_id = workspace AND c.sha256 = x.sha256)
      AND NOT EXISTS (SELECT FROM pending_contents p WHERE p.workspace_id = workspace AND p.sha256 = x.sha256);
  IF needed > 0 AND s.used_bytes + needed > quota THEN
    RETURN jsonb_build_object('status', 'over_quota', 'quota_bytes', quota, 'used_bytes', s.used_bytes, 'needed_bytes', needed);
  END IF;
  UPDATE file_contents c SET touched_at = clock_now() FROM jsonb_to_recordset(wanted) AS x(sha256 text) WHERE c.workspace_id = workspace AND c.sha256 = x.sha256;
  INSERT INTO pending_contents (workspace_id, sha256, size_bytes, object)
    SELECT workspace, x.sha256, x.size_bytes, x.sha256 || '.' || nextval('file_object_no') FROM jsonb_to_recordset(wanted) AS x(sha256 text, size_bytes bigint)
      WHERE NOT EXISTS (SELECT FROM file_contents c WHERE c.workspace_id = workspace AND c.sha256 = x.sha256)
    ON CONFLICT (workspace_id, sha256) DO UPDATE SET touched_at = excluded.touched_at;
  IF needed > 0 THEN UPDATE workspace_storage x SET used_bytes = x.used_bytes + needed WHERE x.workspace_id = workspace; END IF;
  RETURN (SELECT jsonb_build_object('status', 'reserved', 'missing', coalesce(jsonb_agg(jsonb_build_object('sha256', p.sha256, 'object', p.object)), '[]'))
    FROM jsonb_to_recordset(wanted) AS x(sha256 text) JOIN pending_contents p ON p.workspace_id = workspace AND p.sha256 = x.sha256);
END
$$;

-- The objects of these names are whole in the store: their contents may be named. -> those that were taken out meanwhile
CREATE FUNCTION contents_stored(objects text[]) RETURNS text[]
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  workspace text := current_workspace();
BEGIN
  PERFORM 1 FROM workspace_storage s WHERE s.workspace_id = workspace FOR UPDATE;
  WITH arrived AS (
    DELETE FROM pending_contents p USING unnest(objects) o WHERE p.workspace_id = workspace AND p.sha256 = left(o, 64) AND p.object = o RETURNING p.*
  ) INSERT INTO file_contents (workspace_id, sha256, size_bytes, object) SELECT a.workspace_id, a.sha256, a.size_bytes, a.object FROM arrived a;
  RETURN (SELECT coalesce(array_agg(o), '{}') FROM unnest(objects) o
    WHERE NOT EXISTS (SELECT FROM file_contents c WHERE c.workspace_id = workspace AND c.sha256 = left(o, 64) AND c.object = o));
END
$$;

CREATE FUNCTION is_named(workspace text, content text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM upload_files n WHERE n.workspace_id = workspace AND n.sha256 = content)
    OR EXISTS (SELECT FROM artifacts n WHERE n.workspace_id = workspace AND n.sha256 = content)
    OR EXISTS (SELECT FROM run_files n WHERE n.workspace_id = workspace AND n.sha256 = content)
$$;

-- Contents that are counted no more, and their objects, which are still to be removed. -> how many
CREATE FUNCTION note_taken_out(workspace text, objects text[], bytes bigint) RETURNS int
  LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
  IF objects IS NULL THEN RETURN 0; END IF;
  INSERT INTO removed_objects (workspace_id, object) SELECT workspace, o FROM unnest(objects) o;
  UPDATE workspace_storage s SET used_bytes = s.used_bytes - bytes WHERE s.workspace_id = workspace;
  RETURN cardinality(objects);
END
$$;

-- Takes out contents that nothing names and nobody has asked for within the grace. Looks at so many after the given one,
-- in order, so that a big installation is gone through in short statements.
-- -> {taken_out, next: {workspace_id, sha256} | null}
CREATE FUNCTION collect_contents(after_workspace text, after_sha256 text, grace interval, look_at int) RETURNS jsonb
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  page record;
  last record;
  old text[];
  objects text[];
  bytes bigint;
  taken_out bigint := 0;
BEGIN
  SELECT * INTO last FROM (SELECT c.workspace_id, c.sha256, row_number() OVER (ORDER BY c.workspace_id, c.sha256) AS n FROM file_contents c
    WHERE (c.workspace_id, c.sha256) > (after_workspace, after_sha256) ORDER BY c.workspace_id, c.sha256 LIMIT look_at) x ORDER BY x.n DESC LIMIT 1;
  IF NOT FOUND THEN RETURN jsonb_build_object('taken_out', 0, 'next', NULL); END IF;
  FOR page IN
    SELECT c.workspace_id, array_agg(c.sha256) AS contents FROM file_contents c
      WHERE (c.workspace_id, c.sha256) > (after_workspace, after_sha256) AND (c.workspace_id, c.sha256) <= (last.workspace_id, last.sha256)
        AND c.touched_at < clock_now() - grace AND NOT is_named(c.workspace_id, c.sha256)
      GROUP BY c.workspace_id ORDER BY c.workspace_id
  LOOP
    PERFORM 1 FROM workspace_storage s WHERE s.workspace_id = page.workspace_id FOR UPDATE;
    -- Whoever names one of them from now on waits. What was named or asked for until now is seen by the next statements.
    SELECT array_agg(l.sha256) INTO old FROM (SELECT c.sha256 FROM file_contents c
      WHERE c.workspace_id = page.workspace_id AND c.sha256 = ANY (page.contents) AND c.touched_at < clock_now() - grace FOR UPDATE SKIP LOCKED) l;
    WITH gone AS (
      DELETE FROM file_contents c WHERE c.workspace_id = page.workspace_id AND c.sha256 = ANY (old) AND NOT is_named(c.workspace_id, c.sha256) RETURNING c.object, c.size_bytes
    ) SELECT array_agg(g.object), sum(g.size_bytes) INTO objects, bytes FROM gone g;
    taken_out := taken_out + note_taken_out(page.workspace_id, objects, bytes);
  END LOOP;
  RETURN jsonb_build_object('taken_out', taken_out,
    'next', CASE WHEN last.n = look_at THEN jsonb_build_object('workspace_id', last.workspace_id, 'sha256', last.sha256) END);
END
$$;

-- The same for what was counted and never arrived. -> how many
CREATE FUNCTION collect_pending_contents(grace interval, at_most int) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  page record;
  objects text[];
  bytes bigint;
  taken_out int := 0;
BEGIN
  FOR page IN
    SELECT p.workspace_id, array_agg(p.sha256) AS contents FROM (SELECT * FROM pending_contents x WHERE x.touched_at < clock_now() - grace LIMIT at_most) p
      GROUP BY p.workspace_id ORDER BY p.workspace_id
  LOOP
    PERFORM 1 FROM workspace_storage s WHERE s.workspace_id = page.workspace_id FOR UPDATE;
    WITH gone AS (
      DELETE FROM pending_contents p WHERE p.workspace_id = page.workspace_id AND p.sha256 = ANY (page.contents) AND p.touched_at < clock_now() - grace RETURNING p.object, p.size_bytes
    ) SELECT array_agg(g.object), sum(g.size_bytes) INTO objects, bytes FROM gone g;
    taken_out := taken_out + note_taken_out(page.workspace_id, objects, bytes);
  END LOOP;
  RETURN taken_out;
END
$$;

CREATE FUNCTION list_removed_objects(at_most int) RETURNS TABLE (workspace_id text, object text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  SELECT r.workspace_id, r.object FROM removed_objects r ORDER BY r.removed_at LIMIT at_most
$$;

-- gone: [{workspace_id, object}, ...]
CREATE FUNCTION forget_removed_objects(gone jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
  DELETE FROM removed_objects r USING jsonb_to_recordset(gone) AS g(workspace_id text, object text) WHERE r.workspace_id = g.workspace_id AND r.object = g.object
$$;

REVOKE EXECUTE ON FUNCTION is_named(text, text), note_taken_out(text, text[], bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_named(text, text), note_taken_out(text, text[], bigint) TO guildhall_definer;
CALL own_definer_functions();
GRANT EXECUTE ON FUNCTION reserve_contents(jsonb, bigint), contents_stored(text[]) TO guildhall_app;
GRANT EXECUTE ON FUNCTION forget_snapshots(int), collect_contents(text, text, interval, int), collect_pending_contents(interval, int), list_removed_objects(int), forget_removed_objects(jsonb) TO guildhall_ledger;
