import { expect, test } from "vitest";
import { verifyAudit } from "../audit/audit.ts";
import { createTestDatabase } from "../test/database.ts";
import { ensureLocalWorkspace, type LocalWorkspaceOptions } from "./local-workspace.ts";

const { admin, db } = await createTestDatabase();
const limits = [
  { meter: "model_cost", amount: 10_000_000_000 },
  { meter: "agent_time", amount: null },
];
const openPlan: LocalWorkspaceOptions["openPlan"] = (tx, plan) =>
  tx.query({
    text: "SELECT set_plan($1, $2::jsonb, 'system')",
    values: [plan, JSON.stringify(limits)],
  });
const seeded: string[] = [];
const ensure = () =>
  ensureLocalWorkspace({
    db,
    openPlan,
    seedAgents: (_tx, workspaceId) => Promise.resolve(void seeded.push(workspaceId)),
  });

test("processes that start together make one workspace, with owner, limits and audit; later starts find it", async () => {
  const made = await Promise.all([ensure(), ensure(), ensure()]);
  const again = await ensure();
  expect(new Set(made.map((one) => JSON.stringify(one)))).toEqual(new Set([JSON.stringify(again)]));
  const { workspaceId, userId } = again;
  expect(seeded).toEqual([workspaceId, workspaceId, workspaceId, workspaceId]);

  const workspaces = await admin.query("SELECT workspace_id, name, plan FROM workspaces");
  expect(workspaces.rows).toEqual([
    { workspace_id: workspaceId, name: "Local", plan: "self_hosted" },
  ]);
  const members = await admin.query("SELECT user_id, role FROM memberships");
  expect(members.rows).toEqual([{ user_id: userId, role: "owner" }]);
  const stored = await admin.query(
    "SELECT meter, level, scope_id, version, amount FROM limits ORDER BY meter DESC",
  );
  expect(stored.rows).toEqual(
    limits.map(({ meter, amount }) => ({
      meter,
      level: "workspace",
      scope_id: workspaceId,
      version: 1,
      amount: amount === null ? null : String(amount),
    })),
  );
  expect(await db.withWorkspace(workspaceId, verifyAudit)).toEqual({ ok: true, lines: 1 });
});

test("a start that fails half way leaves nothing", async () => {
  await admin.query("TRUNCATE workspaces, users, billing_accounts CASCADE");
  const failing = ensureLocalWorkspace({
    db,
    openPlan,
    seedAgents: () => Promise.reject(new Error("no agents")),
  });
  await expect(failing).rejects.toThrow("no agents");
  for (const table of ["workspaces", "users", "billing_accounts", "limits", "audit_lines"]) {
    const { rows } = await admin.query(`SELECT count(*)::int AS n FROM ${table}`);
    expect(rows).toEqual([{ n: 0 }]);
  }
});
