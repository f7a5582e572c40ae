import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, expect, test } from "vitest";
import { createLocalFileStore, fileStoreOver } from "../platform/file-store/open-file-store.ts";
import { startS3 } from "../platform/file-store/s3-fixture.ts";
import { createS3Objects } from "../platform/file-store/s3-objects.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant } from "../test/tenant.ts";
import { copyFilesInto } from "./move-files.ts";

const { db, admin } = await createTestDatabase();
const server = await startS3();
const filesFolder = await mkdtemp(join(tmpdir(), "guildhall-move-"));
afterAll(async () => {
  await server.close();
  await rm(filesFolder, { recursive: true, force: true });
});

test("an installation that changes from the disk to a bucket keeps all its files, however often it is moved", async () => {
  const shared = { db, log: createLogger({ level: "silent" }), filesFolder };
  const disk = createLocalFileStore(shared);
  const keys = [];
  for (const content of ["one", "two", ""]) {
    const { workspaceId } = await createTenant(admin);
    const stream = Readable.from([Buffer.from(content)]);
    const { sha256 } = await disk.put({ workspaceId, stream, maxBytes: 10 });
    keys.push({ workspaceId, sha256, content });
  }
  const objects = await createS3Objects(server.settings);
  const bucket = fileStoreOver(objects, shared);
  await expect(bucket.open(keys[0]!)).rejects.toMatchObject({ code: "content_missing" });
  const first = await copyFilesInto(objects, { db, filesFolder });
  expect(first).toEqual({ copied: 3, bytes: 6, missing: 0 });
  for (const { content, ...key } of keys) expect(await text(await bucket.open(key))).toBe(content);
  await rm(filesFolder, { recursive: true });
  const second = await copyFilesInto(objects, { db, filesFolder });
  expect(second).toEqual({ copied: 0, bytes: 0, missing: 3 });
  expect(await text(await bucket.open(keys[1]!))).toBe("two");
});
