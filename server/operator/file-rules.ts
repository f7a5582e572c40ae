import type { Rule } from "./rules.ts";

const NAMES = `(
  SELECT workspace_id, sha256, 'upload ' || upload_id AS named_by, path FROM upload_files
  UNION ALL SELECT workspace_id, sha256, 'artifact ' || id, path FROM artifacts
  UNION ALL SELECT workspace_id, sha256, 'run ' || run_id, path FROM run_files WHERE sha256 IS NOT NULL
)`;

const CONTENTS = `(SELECT workspace_id, size_bytes FROM file_contents UNION ALL SELECT workspace_id, size_bytes FROM pending_contents)`;

/** What the database says of files. Whether an object lies in the store only the store knows. */
export const fileRules: readonly Rule[] = [
  {
    law: "I1",
    name: "every file that is named has its content",
    counts: `SELECT count(*)::int AS checked FROM ${NAMES} n`,
    finds: `SELECT n.workspace_id, n.named_by, n.path, n.sha256 FROM ${NAMES} n
      LEFT JOIN file_contents c ON c.workspace_id = n.workspace_id AND c.sha256 = n.sha256 WHERE c.sha256 IS NULL`,
  },
  {
    law: "I4",
    name: "what counts against a storage quota is the sum of the stored contents",
    wholeHistory: true,
    counts: `SELECT count(*)::int AS checked FROM workspace_storage`,
    finds: `SELECT workspace_id, coalesce(s.used_bytes, 0) AS used_bytes, coalesce(c.total, 0)::text AS contents FROM workspace_storage s
      FULL JOIN (SELECT x.workspace_id, sum(x.size_bytes) AS total FROM ${CONTENTS} x GROUP BY 1) c USING (workspace_id)
      WHERE coalesce(s.used_bytes, 0) <> coalesce(c.total, 0)`,
  },
];
