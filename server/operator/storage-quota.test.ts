import { expect, test } from "vitest";
import { reserveContents } from "../platform/file-store/contents.ts";
import { sha256Hex } from "../platform/secret.ts";
import { readQuota } from "../storage-commands.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";
import { type AgreedQuota, readStorageAgreement, setStorageQuota } from "./storage-quota.ts";

const { db, admin } = await createTestDatabase();

const agree = ({ workspaceId }: Pick<Tenant, "workspaceId">, quota: AgreedQuota) =>
  db.withPlatform((tx) =>
    setStorageQuota(tx, { workspaceId, quota, actor: "operator", origin: "local" }),
  );
const look = ({ workspaceId }: Pick<Tenant, "workspaceId">) =>
  db.withPlatform((tx) => readStorageAgreement(tx, workspaceId));
/** Stores a content of so many bytes under an installation's quota of 10. */
const store = ({ workspaceId }: Tenant, sizeBytes: number) =>
  reserveContents(db, {
    workspaceId,
    files: [{ sha256: sha256Hex(String(sizeBytes)), sizeBytes }],
    quotaBytes: 10,
  });

test("an agreed quota holds from the next file on, is audited, and is given back to the installation's", async () => {
  const tenant = await createTenant(admin);
  await expect(store(tenant, 11)).rejects.toMatchObject({ code: "storage_quota_exceeded" });
  await agree(tenant, 20);
  await store(tenant, 11);
  expect(await agree(tenant, 5)).toEqual({ quota: 5, usedBytes: 11 });
  await expect(store(tenant, 1)).rejects.toMatchObject({ extensions: { quota_bytes: 5 } });
  await agree(tenant, null);
  expect(await look(tenant)).toEqual({ quota: null, usedBytes: 11 });
  await store(tenant, 1_000_000);
  await agree(tenant, "default");
  expect(await look(tenant)).toEqual({ quota: "default", usedBytes: 1_000_011 });
  await expect(store(tenant, 2)).rejects.toMatchObject({ extensions: { quota_bytes: 10 } });
  const { rows } = await admin.query(
    "SELECT action FROM audit_lines WHERE workspace_id = $1 AND action = 'storage_quota.agreed'",
    [tenant.workspaceId],
  );
  expect(rows).toHaveLength(4);
});

test("a workspace can change neither its quota nor what counts against it", async () => {
  const tenant = await createTenant(admin);
  await agree(tenant, 5);
  for (const text of [
    "INSERT INTO storage_agreements (workspace_id, version, is_own, changed_by) VALUES (current_workspace(), 9, true, 'x')",
    "UPDATE storage_agreements SET quota_bytes = 1000",
    "UPDATE workspace_storage SET used_bytes = 0",
    "DELETE FROM file_contents",
    "INSERT INTO file_contents (workspace_id, sha256, size_bytes, object) VALUES (current_workspace(), 'x', 0, 'x')",
  ])
    await expect(
      db.withWorkspace(tenant.workspaceId, (tx) => tx.query({ text, values: [] })),
    ).rejects.toMatchObject({ code: "42501" });
});

test("an unknown workspace is named", async () => {
  await expect(agree({ workspaceId: "ws_nobody" }, 5)).rejects.toMatchObject({
    code: "workspace_not_found",
  });
  await expect(look({ workspaceId: "ws_nobody" })).rejects.toMatchObject({
    code: "workspace_not_found",
  });
});

test.each([
  ["500MB", 500 * 1_024 ** 2],
  ["1.5tb", 1.5 * 1_024 ** 4],
  ["none", null],
  ["default", "default"],
] as const)("%s is understood", (text, quota) => {
  expect(readQuota(text)).toBe(quota);
});

test.each(["20", "-1GB", "GB", "1e3GB", "1.2345GB"])("%s is refused, with what to give", (text) => {
  expect(() => readQuota(text)).toThrow("no amount of storage");
});
