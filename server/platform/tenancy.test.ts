import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";

const { db, admin, ownerUrl } = await createTestDatabase({ maxConnections: 4 });

async function rows<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
  return (await admin.query<Row>(text, values)).rows;
}

const tenantTables = (
  await rows<{ name: string }>(
    `SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'workspace_id' AND NOT a.attisdropped ORDER BY 1`,
  )
).map((row) => row.name);

async function createWorkspace(id: string): Promise<void> {
  await admin.query(`INSERT INTO billing_accounts (id, name) VALUES ($1, $1)`, [`ba_${id}`]);
  await admin.query(
    `INSERT INTO workspaces (workspace_id, name, billing_account_id, plan) VALUES ($1, $1, $2, 'free')`,
    [id, `ba_${id}`],
  );
}

/** Functions with the rights of the definer role, each reviewed: it checks its own fence and names its workspace. */
const reviewedDefiners = [
  "add_member",
  "check_limits",
  "claim",
  "collect_contents",
  "collect_pending_contents",
  "commit_agent_time",
  "commit_spending",
  "contents_stored",
  "count_socket_time",
  "end_temporary_limits",
  "finish_runs",
  "forget_removed_objects",
  "forget_snapshots",
  "freeze_model",
  "heartbeat",
  "lease_agent_time",
  "lease_requests",
  "lift_frozen_model",
  "limit_actor_names",
  "list_frozen_models",
  "list_removed_objects",
  "mark_dispatched",
  "mark_undelivered",
  "note_refused_demand",
  "note_refused_requests",
  "note_run_ready",
  "open_calls_elsewhere",
  "open_queues",
  "process_ended",
  "process_seen",
  "raise_alerts",
  "reap_holds",
  "reap_runs",
  "reconcile_hold",
  "record_refusal",
  "release_run",
  "reserve_contents",
  "return_cancelled_time",
  "run_active",
  "set_limit",
  "set_overage",
  "set_override",
  "set_own_cap",
  "set_plan",
  "set_suspended",
  "set_top_limit",
  "take_journal",
  "take_missed",
  "wake_due_runs",
  "wake_limited_runs",
  "wake_unpriced_runs",
];

it("every table with a workspace forces row-level security with one rule for reading and writing", async () => {
  expect(tenantTables.length).toBeGreaterThan(20);
  const wrong = await rows(
    `SELECT c.relname FROM pg_class c WHERE c.relname = ANY($1) AND c.relnamespace = 'public'::regnamespace AND NOT (
       c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
         SELECT 1 FROM pg_policies p WHERE p.tablename = c.relname AND p.roles = '{guildhall_app}' AND p.cmd = 'ALL'
           AND p.qual = p.with_check AND p.qual LIKE '%current_workspace()%'))`,
    [tenantTables],
  );
  expect(wrong).toEqual([]);
});

it("no policy shows a login role all workspaces, except the platform's", async () => {
  const wrong = await rows(
    `SELECT tablename, policyname, roles FROM pg_policies
     WHERE qual = 'true' AND NOT (roles = '{guildhall_platform}' OR roles = '{guildhall_definer}')`,
  );
  expect(wrong).toEqual([]);
});

it("the roles that serve requests own nothing, bypass nothing and cannot truncate", async () => {
  const logins = ["guildhall_app", "guildhall_ledger", "guildhall_platform"];
  expect(
    await rows(
      `SELECT rolname FROM pg_roles WHERE rolname LIKE 'guildhall%' AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)`,
    ),
  ).toEqual([]);
  expect(
    await rows(
      `SELECT c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = ANY($1)`,
      [logins],
    ),
  ).toEqual([]);
  expect(
    await rows(
      `SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants
       WHERE grantee LIKE 'guildhall%' AND privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')`,
    ),
  ).toEqual([]);
  expect(
    await rows(
      `SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'guildhall_ledger'`,
    ),
  ).toEqual([]);
  expect(
    await rows(
      `SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = ANY($1)`,
      [logins],
    ),
  ).toEqual([]);
});

it("a statement cannot run for ever in any role that serves requests", async () => {
  const settings = await rows<{ rolname: string; rolconfig: string[] | null }>(
    `SELECT rolname, rolconfig FROM pg_roles WHERE rolname IN ('guildhall_app', 'guildhall_ledger', 'guildhall_platform')`,
  );
  expect(settings).toHaveLength(3);
  for (const role of settings) expect(role.rolconfig).toContain("statement_timeout=5s");
  // Nor is it compiled because of what its plan pretends to cost.
  for (const role of settings) expect(role.rolconfig).toContain("jit=off");
});

it("functions with definer rights are the reviewed ones, with a fixed search path, and not for everybody", async () => {
  const definers = await rows<{
    name: string;
    owner: string;
    config: string[] | null;
    open: boolean;
  }>(
    `SELECT p.proname AS name, r.rolname AS owner, p.proconfig AS config, has_function_privilege('public', p.oid, 'EXECUTE') AS open
     FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef ORDER BY 1`,
  );
  expect(definers.map((definer) => definer.name)).toEqual(reviewedDefiners);
  for (const definer of definers) {
    expect(definer).toMatchObject({ owner: "guildhall_definer", open: false });
    const [path, ...planner] = definer.config ?? [];
    expect(path).toBe("search_path=public, pg_temp");
    expect(
      planner.filter(
        (setting) => !/^(enable_|plan_cache_mode=|join_collapse_limit=)/.test(setting),
      ),
    ).toEqual([]);
  }
});

it("keys between tenant tables start with the workspace, so none can point across or betray a foreign row", async () => {
  const wrong = await rows(
    `SELECT c.conrelid::regclass AS table_name, c.conname FROM pg_constraint c
     JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
     WHERE c.conrelid::regclass::text = ANY($1) AND c.contype IN ('p', 'u', 'f') AND a.attname <> 'workspace_id'
       AND NOT (c.contype = 'f' AND NOT c.confrelid::regclass::text = ANY($1))`,
    [tenantTables],
  );
  expect(wrong).toEqual([]);
  const indexes = await rows(
    `SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid::regclass::text = ANY($1) AND i.indisunique AND a.attname <> 'workspace_id'`,
    [tenantTables],
  );
  expect(indexes).toEqual([]);
});

it("there is no view, and no partition that could be reached past its parent", async () => {
  expect(
    await rows(
      `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND (relkind IN ('v', 'm') OR relispartition)`,
    ),
  ).toEqual([]);
});

it("each tenant table refuses a transaction that names no workspace", async () => {
  const { default: pg } = await import("pg");
  const url = new URL(ownerUrl);
  const client = new pg.Client({
    host: url.hostname,
    port: Number(url.port),
    database: url.pathname.slice(1),
    user: "guildhall_app",
    password: "test-guildhall_app",
  });
  await client.connect();
  await createWorkspace("ws_context");
  try {
    // The setting reads NULL on a fresh connection and '' on one that had a workspace before.
    for (const used of [false, true]) {
      if (used)
        await client.query(
          `BEGIN; SELECT set_config('app.workspace_id', 'ws_context', true); COMMIT`,
        );
      for (const table of tenantTables) {
        const answer = await client.query(`SELECT 1 FROM ${table}`).then(
          () => "answered",
          (error: { code: string }) => error.code,
        );
        // 42501: the app role may not read this table at all.
        expect([table, answer]).toEqual([table, expect.stringMatching(/^(GH001|42501)$/)]);
      }
    }
    for (const escape of [
      "SET ROLE guildhall_platform",
      "SET ROLE guildhall_definer",
      "SET SESSION AUTHORIZATION postgres",
      "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
      "COPY tasks TO PROGRAM 'cat'",
    ])
      await expect(client.query(escape), escape).rejects.toThrow();
    await client.query("SET row_security = off");
    await expect(client.query("SELECT * FROM tasks")).rejects.toThrow(/row-level security/);
  } finally {
    await client.end();
  }
});

it("interleaved transactions of 50 workspaces on 4 connections never see each other's rows, whatever is thrown", async () => {
  const ids = Array.from({ length: 50 }, (_, i) => `ws_leak${i}`);
  for (const id of ids) await createWorkspace(id);
  const thrown = new Error("thrown on purpose");
  let read = 0;
  async function visit(id: string, n: number): Promise<void> {
    await db
      .withWorkspace(id, async (tx) => {
        if (n % 5 === 0) throw thrown;
        const seen = await tx.query<{ workspace_id: string }>({
          text: "SELECT workspace_id FROM workspaces",
          values: [],
        });
        expect(seen).toEqual([{ workspace_id: id }]);
        read++;
        if (n % 7 === 0) await tx.query({ text: "SELECT 1 / 0", values: [] });
        if (n % 11 === 0) throw thrown;
      })
      .catch((error: Error & { code?: string }) => {
        if (error !== thrown && error.code !== "22012") throw error;
      });
  }
  const total = 10_000;
  let next = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (next < total) {
        const n = next++;
        await visit(ids[(n * 31) % ids.length]!, n);
      }
    }),
  );
  expect(read).toBeGreaterThan(7_000);
});

it("a row of another workspace can be neither written nor referred to", async () => {
  await createWorkspace("ws_mine");
  await createWorkspace("ws_theirs");
  const insert = (into: string) => ({
    text: `INSERT INTO uploads (workspace_id, id, created_by) VALUES ($1, 'upl_1', 'user:x')`,
    values: [into],
  });
  await db.withWorkspace("ws_theirs", (tx) => tx.query(insert("ws_theirs")));
  await expect(
    db.withWorkspace("ws_mine", (tx) => tx.query(insert("ws_theirs"))),
  ).rejects.toMatchObject({ code: "42501" });
  await expect(
    db.withWorkspace("ws_mine", (tx) =>
      tx.query({
        text: `INSERT INTO upload_files (workspace_id, upload_id, path, size_bytes, sha256) VALUES ('ws_mine', 'upl_1', 'a', 1, 'x')`,
        values: [],
      }),
    ),
  ).rejects.toMatchObject({ code: "23503" });
});
