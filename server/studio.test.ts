import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { startStudio } from "./studio.ts";
import { createTestDatabase } from "./test/database.ts";
import { testPasswordOf } from "./test/postgres.ts";
import { createTenant } from "./test/tenant.ts";
import { roleUrl } from "./installation.ts";

const { admin, ownerUrl } = await createTestDatabase();
const databaseUrl = roleUrl({ ownerUrl, role: "guildhall_platform", passwordOf: testPasswordOf });

/** What the page asks its own server for: rows, or the error in their place. */
async function query(url: string, sql: string): Promise<{ error: unknown; rows: unknown }> {
  const response = await fetch(`${url}/bff`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ procedure: "query", query: { sql, parameters: [] } }),
  });
  const [error, rows] = (await response.json()) as [unknown, unknown];
  return { error, rows };
}

it("Studio shows all workspaces, and can neither touch the ledger nor become another role", async () => {
  const tenants = [await createTenant(admin), await createTenant(admin)];
  const studio = await startStudio({ databaseUrl });
  try {
    const page = await fetch(studio.url);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain("studio.js");
    const { rows } = await query(studio.url, "SELECT workspace_id FROM workspaces");
    expect(rows).toEqual(
      expect.arrayContaining(tenants.map(({ workspaceId }) => ({ workspace_id: workspaceId }))),
    );
    for (const refused of [
      "DELETE FROM ledger_lines",
      "UPDATE budgets SET posted = 0",
      "UPDATE audit_lines SET actor = 'nobody'",
      "SET ROLE postgres",
      "COPY (SELECT 1) TO PROGRAM 'cat'",
    ])
      expect([refused, (await query(studio.url, refused)).error]).toMatchObject([
        refused,
        { code: "42501" },
      ]);
  } finally {
    await studio.close();
  }
  await expect(fetch(studio.url)).rejects.toThrow("fetch failed");
});

it("Studio refuses a page of another origin", async () => {
  const studio = await startStudio({ databaseUrl });
  try {
    const answer = await fetch(studio.url, { headers: { origin: "http://evil.example" } });
    expect(answer.status).toBe(403);
  } finally {
    await studio.close();
  }
});

it("a port in use is named, with what to do", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  try {
    await expect(startStudio({ databaseUrl, port })).rejects.toMatchObject({
      code: "studio_failed",
      publicMessage: `Port ${port} is in use by another program.`,
    });
  } finally {
    other.close();
  }
});
