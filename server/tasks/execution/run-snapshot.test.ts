import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, expect, test } from "vitest";
import { createLocalFileStore } from "../../platform/file-store/open-file-store.ts";
import { createLogger } from "../../platform/log.ts";
import { Secret, sha256Hex } from "../../platform/secret.ts";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun, createClaimedRun, createTenant, type ClaimedRun } from "../../test/tenant.ts";
import type { Claim } from "./run-claims.ts";
import {
  findSnapshot,
  forgetOldSnapshots,
  recordSnapshot,
  type KeptEntry,
  type SnapshotChange,
} from "./run-snapshot.ts";

const { db, admin } = await createTestDatabase();
const filesFolder = await mkdtemp(join(tmpdir(), "guildhall-snapshots-"));
afterAll(() => rm(filesFolder, { recursive: true, force: true }));
const files = createLocalFileStore({ db, log: createLogger({ level: "silent" }), filesFolder });

const claimOf = ({ workspaceId, runId, taskId, epoch }: ClaimedRun): Claim => ({
  workspaceId,
  runId,
  taskId,
  epoch,
  token: new Secret("unused"),
});
const record = (claim: Claim, change: Partial<SnapshotChange>, stepNo = 1) =>
  db.withWorkspace(claim.workspaceId, (tx) =>
    recordSnapshot(tx, claim, { stepNo, changed: [], removed: [], ...change }),
  );
const found = ({ workspaceId, runId }: Claim) =>
  db.withWorkspace(workspaceId, (tx) => findSnapshot(tx, runId));

/** A stored content as a file of a folder. */
async function store({ workspaceId }: Claim, path: string, content: string): Promise<KeptEntry> {
  const stream = Readable.from([Buffer.from(content)]);
  const { sha256, sizeBytes } = await files.put({ workspaceId, stream, maxBytes: 100 });
  return { path, sha256, sizeBytes, mode: 0o644 };
}

test("the state of a folder is what its changes add up to, and none before the first", async () => {
  const claim = claimOf(await createClaimedRun(admin, await createTenant(admin)));
  expect(await found(claim)).toBeUndefined();
  const [a, b] = [await store(claim, "a", "one"), await store(claim, "b", "two")];
  const folder = { path: "c", sha256: null, sizeBytes: 0, mode: 0o755 };
  expect(await record(claim, { changed: [b, a, folder] })).toBe(true);
  expect(await found(claim)).toEqual([a, b, folder]);
  const changed = { ...(await store(claim, "b", "new")), mode: 0o755 };
  expect(await record(claim, { changed: [changed], removed: ["a", "c"] }, 2)).toBe(true);
  // Storing it again, because the answer was lost, changes nothing.
  expect(await record(claim, { changed: [changed], removed: ["a", "c"] }, 2)).toBe(true);
  expect(await found(claim)).toEqual([changed]);
});

test("an attempt whose lease is over or in other hands cannot change the state", async () => {
  const run = await createClaimedRun(admin, await createTenant(admin));
  const stale = claimOf(run);
  const kept = await store(stale, "a", "kept");
  await record(stale, { changed: [kept] });
  const next = claimOf(await claimRun(admin, run));
  expect(await record(stale, { removed: ["a"] }, 2)).toBe(false);
  expect(await record(next, {}, 2)).toBe(true);
  await admin.query("UPDATE runs SET lease_until = clock_now() WHERE id = $1", [run.runId]);
  expect(await record(next, { removed: ["a"] }, 3)).toBe(false);
  expect(await found(next)).toEqual([kept]);
  const { rows } = await admin.query("SELECT epoch, step_no FROM run_snapshots WHERE run_id = $1", [
    run.runId,
  ]);
  expect(rows).toEqual([{ epoch: next.epoch, step_no: 2 }]);
});

test("a content of a folder stays until the run is over, or a later step left it out", async () => {
  const claim = claimOf(await createClaimedRun(admin, await createTenant(admin)));
  const { workspaceId, runId } = claim;
  const read = async (content: string) =>
    text(await files.open({ workspaceId, sha256: sha256Hex(content) }));
  // What the tests before this one have left.
  await files.removeUnnamed({ graceMs: 0 });
  const changed = [await store(claim, "a", "first"), await store(claim, "b", "second")];
  await record(claim, { changed });
  await forgetOldSnapshots(db);
  expect(await files.removeUnnamed({ graceMs: 0 })).toBe(0);
  await record(claim, { removed: ["a"] }, 2);
  expect(await files.removeUnnamed({ graceMs: 0 })).toBe(1);
  await expect(read("first")).rejects.toThrow("content");
  expect(await read("second")).toBe("second");
  await admin.query(
    "UPDATE runs SET state = 'ended', slot_no = NULL, lease_until = NULL, ended_at = clock_now() WHERE id = $1",
    [runId],
  );
  await forgetOldSnapshots(db);
  expect(await found(claim)).toBeUndefined();
  expect(await files.removeUnnamed({ graceMs: 0 })).toBe(1);
});

test("a state cannot name what is not in the store", async () => {
  const claim = claimOf(await createClaimedRun(admin, await createTenant(admin)));
  const entry = { path: "a", sha256: sha256Hex("nowhere"), sizeBytes: 7, mode: 0o644 };
  await expect(record(claim, { changed: [entry] })).rejects.toMatchObject({ code: "23503" });
  const other = claimOf(await createClaimedRun(admin, await createTenant(admin)));
  const theirs = await store(other, "a", "theirs");
  await expect(record(claim, { changed: [theirs] })).rejects.toMatchObject({ code: "23503" });
});
