import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { createTenant, type Tenant } from "../../test/tenant.ts";
import { createLogger } from "../log.ts";
import { sha256Hex } from "../secret.ts";
import { readStorageUse } from "./contents.ts";
import { createLocalFileStore } from "./open-file-store.ts";

const { db, admin } = await createTestDatabase();
const log = createLogger({ level: "silent" });

let root: string;
let tenant: Tenant;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "guildhall-files-"));
  tenant = await createTenant(admin);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const openStore = (quotaBytes?: number) =>
  createLocalFileStore({ db, log, filesFolder: root, quotaBytes });
const streamOf = (...parts: string[]) => Readable.from(parts.map((part) => Buffer.from(part)));
const incoming = (content: string, maxBytes = 1_000) => ({
  workspaceId: tenant.workspaceId,
  stream: streamOf(content),
  maxBytes,
});
const keyOf = (content: string) => ({
  workspaceId: tenant.workspaceId,
  sha256: sha256Hex(content),
});
const storedBytes = async () =>
  (await db.withWorkspace(tenant.workspaceId, (tx) => readStorageUse(tx, null))).usedBytes;

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

test("a stored content is read back whole under its SHA-256", async () => {
  const store = openStore();
  const stored = await store.put({ ...incoming("", 12), stream: streamOf("name,", "amount\n") });
  expect(stored).toEqual({ sha256: sha256Hex("name,amount\n"), sizeBytes: 12 });
  expect(await text(await store.open(keyOf("name,amount\n")))).toBe("name,amount\n");
});

test("one byte too many is refused and nothing is kept", async () => {
  const put = openStore().put({ ...incoming("", 4), stream: streamOf("1234", "5") });
  await expect(put).rejects.toMatchObject({ code: "file_too_large", status: 413 });
  expect(await filesBelow(root)).toEqual([]);
});

test("a source that breaks off leaves nothing behind", async () => {
  async function* broken() {
    yield Buffer.from("half");
    throw new Error("connection lost");
  }
  const put = openStore().put({ ...incoming(""), stream: broken() });
  await expect(put).rejects.toThrow("connection lost");
  expect(await filesBelow(root)).toEqual([]);
  expect(await storedBytes()).toBe(0);
});

test("the same content twice, also at once, is one file and counts once", async () => {
  const store = openStore();
  await Promise.all([1, 2, 3].map(() => store.put(incoming("same"))));
  expect(await filesBelow(root)).toHaveLength(1);
  expect(await storedBytes()).toBe(4);
});

test("a workspace does not see the content of another, even when it knows the hash", async () => {
  const store = openStore();
  const { sha256 } = await store.put(incoming("mine"));
  const { workspaceId } = await createTenant(admin);
  await expect(store.open({ workspaceId, sha256 })).rejects.toMatchObject({
    code: "content_missing",
  });
});

test("a staged content is in the store only once it is kept, and gone once it is discarded", async () => {
  const store = openStore();
  const stage = (part: string) => store.stage({ stream: streamOf(part), maxBytes: 10 });
  const [kept, discarded] = [await stage("kept"), await stage("discarded")];
  await expect(store.open(keyOf("kept"))).rejects.toMatchObject({ code: "content_missing" });
  await store.keep(tenant.workspaceId, [kept]);
  await kept.discard();
  await discarded.discard();
  expect(await text(await store.open(keyOf("kept")))).toBe("kept");
  expect(await filesBelow(root)).toHaveLength(1);
});

test("what a dead process left unfinished is removed, what is being written stays", async () => {
  await openStore().put(incoming(""));
  const [old, fresh] = ["old", "fresh"].map((name) => join(root, ".incoming", name));
  await writeFile(old!, "half");
  await writeFile(fresh!, "half");
  const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
  await utimes(old!, twoDaysAgo, twoDaysAgo);
  await openStore().put(incoming(""));
  expect(await readdir(join(root, ".incoming"))).toEqual(["fresh"]);
});

test("a content that did not reach the store is sent again by the next who needs it", async () => {
  const store = openStore();
  const staged = await store.stage({ stream: streamOf("lost"), maxBytes: 10 });
  await staged.discard();
  await expect(store.keep(tenant.workspaceId, [staged])).rejects.toThrow("ENOENT");
  await store.put(incoming("lost"));
  expect(await text(await store.open(keyOf("lost")))).toBe("lost");
  expect(await storedBytes()).toBe(4);
});

test("a quota is never passed, however many store at once, and all that fits is stored", async () => {
  const store = openStore(100);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 40 }, (_none, n) => store.put(incoming(`content ${10 + n}`))),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(10);
  expect(await storedBytes()).toBe(100);
  expect(await filesBelow(root)).toHaveLength(10);
  for (const outcome of outcomes)
    if (outcome.status === "rejected")
      expect(outcome.reason).toMatchObject({
        code: "storage_quota_exceeded",
        status: 413,
        extensions: { quota_bytes: 100, needed_bytes: 10 },
      });
});

test("with a full quota, what is there already can be stored again, and what belongs together is kept whole or not at all", async () => {
  const store = openStore(10);
  await store.put(incoming("0123456789"));
  await store.put(incoming("0123456789"));
  const roomy = openStore(14);
  const staged = await Promise.all(
    ["0123456789", "abc", "de"].map((part) =>
      roomy.stage({ stream: streamOf(part), maxBytes: 10 }),
    ),
  );
  await expect(roomy.keep(tenant.workspaceId, staged)).rejects.toMatchObject({
    extensions: { needed_bytes: 5, used_bytes: 10 },
  });
  expect(await storedBytes()).toBe(10);
  await roomy.keep(tenant.workspaceId, staged.slice(0, 2));
  expect(await storedBytes()).toBe(13);
});

test("what was agreed with a workspace goes before the installation's quota, also when it is no quota", async () => {
  const store = openStore(10);
  const agree = (bytes: number | null) =>
    admin.query(
      `INSERT INTO storage_agreements (workspace_id, version, is_own, quota_bytes, changed_by)
       SELECT $1, count(*) + 1, true, $2, 'test' FROM storage_agreements WHERE workspace_id = $1`,
      [tenant.workspaceId, bytes],
    );
  await agree(3);
  await expect(store.put(incoming("four"))).rejects.toMatchObject({
    extensions: { quota_bytes: 3 },
  });
  await agree(null);
  await store.put(incoming("more than ten bytes"));
});
