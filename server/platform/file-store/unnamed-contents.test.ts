import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import pg from "pg";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { createTenant, type Tenant } from "../../test/tenant.ts";
import type { WorkspaceTx } from "../db.ts";
import { newId } from "../ids.ts";
import { createLogger } from "../log.ts";
import { sha256Hex } from "../secret.ts";
import { readStorageUse, reserveContents } from "./contents.ts";
import type { FileStore } from "./file-store.ts";
import { createLocalObjects } from "./local-objects.ts";
import { createLocalFileStore, fileStoreOver } from "./open-file-store.ts";

const { db, admin, ownerUrl } = await createTestDatabase();
const owners = new pg.Pool({ connectionString: ownerUrl, max: 4 });
afterAll(() => owners.end());
const log = createLogger({ level: "silent" });

let root: string;
let tenant: Tenant;
let store: FileStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "guildhall-files-"));
  tenant = await createTenant(admin);
  store = createLocalFileStore({ db, log, filesFolder: root });
});
afterEach(async () => {
  await store.removeUnnamed({ graceMs: 0 });
  await rm(root, { recursive: true, force: true });
});

const put = (content: string) =>
  store.put({
    workspaceId: tenant.workspaceId,
    stream: Readable.from([Buffer.from(content)]),
    maxBytes: 1_000,
  });
const read = async (content: string) =>
  text(await store.open({ workspaceId: tenant.workspaceId, sha256: sha256Hex(content) }));
const storedBytes = async () =>
  (await db.withWorkspace(tenant.workspaceId, (tx) => readStorageUse(tx, null))).usedBytes;

/** Names the content as a file of an upload, as everybody does who has stored one. -> the upload */
async function name(tx: WorkspaceTx, content: string): Promise<string> {
  const upload = newId("upl");
  await tx.query({
    text: `WITH u AS (INSERT INTO uploads (workspace_id, id, created_by) VALUES (current_workspace(), $1, 'test'))
      INSERT INTO upload_files (workspace_id, upload_id, path, size_bytes, sha256) VALUES (current_workspace(), $1, 'a', $2, $3)`,
    values: [upload, Buffer.byteLength(content), sha256Hex(content)],
  });
  return upload;
}
const nameNow = (content: string) =>
  db.withWorkspace(tenant.workspaceId, (tx) => name(tx, content));
const unname = (upload: string) =>
  owners.query("DELETE FROM upload_files WHERE upload_id = $1", [upload]);

async function files(): Promise<string[]> {
  const found = await readdir(join(root, tenant.workspaceId), { recursive: true });
  return found.filter((path) => path.includes("."));
}

test("what nothing names is removed after the grace and no longer counted; what is named, or new, stays", async () => {
  await put("named");
  const upload = await nameNow("named");
  await put("unnamed");
  expect(await store.removeUnnamed()).toBe(0);
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(1);
  expect(await storedBytes()).toBe(5);
  expect(await files()).toHaveLength(1);
  await expect(read("unnamed")).rejects.toMatchObject({ code: "content_missing" });
  expect(await read("named")).toBe("named");
  await unname(upload);
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(1);
  expect([await storedBytes(), await files()]).toEqual([0, []]);
});

test("asking for a content again renews its grace", async () => {
  await put("again");
  await admin.query("UPDATE file_contents SET touched_at = touched_at - interval '1 day'");
  await put("again");
  expect(await store.removeUnnamed()).toBe(0);
  expect(await read("again")).toBe("again");
});

test("a content that comes again while the old one is being removed is not removed with it, however late that is", async () => {
  await put("again");
  await db.ledger({ text: "SELECT collect_contents('', '', '0', 100)", values: [] });
  await put("again");
  await nameNow("again");
  expect(await files()).toHaveLength(2);
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(1);
  expect(await read("again")).toBe("again");
  expect(await storedBytes()).toBe(5);
});

test("a name that is being written keeps its content, and one that comes too late is refused", async () => {
  await put("raced");
  await db.withWorkspace(tenant.workspaceId, async (tx) => {
    await name(tx, "raced");
    expect(await store.removeUnnamed({ graceMs: 0 })).toBe(0);
  });
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(0);
  expect(await read("raced")).toBe("raced");
  await put("late");
  await store.removeUnnamed({ graceMs: 0 });
  await expect(nameNow("late")).rejects.toMatchObject({ code: "23503" });
});

test("a store that cannot remove is asked again, and meanwhile the content is neither counted nor read", async () => {
  await put("stuck");
  await db.ledger({ text: "SELECT collect_contents('', '', '0', 100)", values: [] });
  expect(await storedBytes()).toBe(0);
  await expect(read("stuck")).rejects.toMatchObject({ code: "content_missing" });
  expect(await files()).toHaveLength(1);
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(1);
  expect(await files()).toEqual([]);
});

test("one object that cannot be removed keeps no other one", async () => {
  const disk = createLocalObjects({ root });
  let refused: string | undefined;
  const objects: typeof disk = {
    ...disk,
    remove(object) {
      refused ??= object.object;
      if (object.object === refused) return Promise.reject(new Error("it is locked"));
      return disk.remove(object);
    },
  };
  store = fileStoreOver(objects, { db, log, filesFolder: root });
  for (const content of ["first", "second", "third"]) await put(content);
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(2);
  refused = "none";
  expect(await store.removeUnnamed({ graceMs: 0 })).toBe(1);
});

test("what was counted and never arrived is counted no longer after the grace", async () => {
  const { workspaceId } = tenant;
  const wanted = [{ sha256: sha256Hex("never"), sizeBytes: 5 }];
  await reserveContents(db, { workspaceId, files: wanted });
  expect(await storedBytes()).toBe(5);
  await store.removeUnnamed();
  expect(await storedBytes()).toBe(5);
  await store.removeUnnamed({ graceMs: 0 });
  expect(await storedBytes()).toBe(0);
});

test("who slept through the grace while sending stores its content again, and leaves no orphan", async () => {
  const objects = createLocalObjects({ root });
  const sleepy = fileStoreOver(
    {
      ...objects,
      async put(name, file) {
        if (!slept) await store.removeUnnamed({ graceMs: 0 });
        slept = true;
        await objects.put(name, file);
      },
    },
    { db, log, filesFolder: root },
  );
  let slept = false;
  const stream = Readable.from([Buffer.from("asleep")]);
  await sleepy.put({ workspaceId: tenant.workspaceId, stream, maxBytes: 10 });
  await nameNow("asleep");
  expect(await read("asleep")).toBe("asleep");
  expect([await storedBytes(), (await files()).length]).toEqual([6, 1]);
});

test("pages of any size find the same", async () => {
  const contents = Array.from({ length: 7 }, (_none, n) => `page ${n}`);
  for (const content of contents) await put(content);
  await nameNow("page 3");
  let after = { workspace_id: "", sha256: "" };
  let takenOut = 0;
  for (let pages = 0; pages < 20; pages++) {
    const [row] = await db.ledger<{
      page: { taken_out: number; next: typeof after | null };
    }>({
      text: "SELECT collect_contents($1, $2, '0', 2) AS page",
      values: [after.workspace_id, after.sha256],
    });
    takenOut += row!.page.taken_out;
    if (row!.page.next === null) break;
    after = row!.page.next;
  }
  expect(takenOut).toBe(6);
  expect(await read("page 3")).toBe("page 3");
});

test("under everybody at once no named content is ever lost, and the count equals what is there", async () => {
  const contents = Array.from({ length: 5 }, (_none, n) => `content ${n}`);
  const working = new AbortController();
  const collector = (async () => {
    while (!working.signal.aborted) await store.removeUnnamed({ graceMs: 0 });
  })();
  const users = Array.from({ length: 4 }, async (_none, user) => {
    for (let round = 0; round < 25; round++) {
      const content = contents[(user * 7 + round * 3) % contents.length]!;
      await put(content);
      // Without a grace the content may be taken out before it is named; then nothing is named.
      const upload = await nameNow(content).catch((error: { code?: string }) => {
        if (error.code !== "23503") throw error;
        return undefined;
      });
      if (upload === undefined) continue;
      expect(await read(content)).toBe(content);
      await unname(upload);
    }
  });
  await Promise.all(users);
  working.abort();
  await collector;
  await store.removeUnnamed({ graceMs: 0 });
  expect([await storedBytes(), await files()]).toEqual([0, []]);
});
