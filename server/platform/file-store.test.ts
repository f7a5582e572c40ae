import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFileStore } from "./file-store.ts";
import { sha256Hex } from "./secret.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "guildhall-files-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const streamOf = (...parts: string[]) => Readable.from(parts.map((part) => Buffer.from(part)));

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

test("a stored content is read back whole under its SHA-256", async () => {
  const store = createFileStore({ root });
  const stored = await store.put({
    workspaceId: "ws_a",
    stream: streamOf("name,", "amount\n"),
    maxBytes: 12,
  });
  expect(stored).toEqual({ sha256: sha256Hex("name,amount\n"), sizeBytes: 12 });
  const key = { workspaceId: "ws_a", sha256: stored.sha256 };
  expect(await text(store.open(key))).toBe("name,amount\n");
  expect(await store.size(key)).toBe(12);
  expect(await readFile(store.path(key), "utf8")).toBe("name,amount\n");
});

test("an empty content is a content", async () => {
  const store = createFileStore({ root });
  const stored = await store.put({ workspaceId: "ws_a", stream: streamOf(), maxBytes: 0 });
  expect(await store.size({ workspaceId: "ws_a", sha256: stored.sha256 })).toBe(0);
});

test("one byte too many is refused and nothing is kept", async () => {
  const store = createFileStore({ root });
  const put = store.put({ workspaceId: "ws_a", stream: streamOf("1234", "5"), maxBytes: 4 });
  await expect(put).rejects.toMatchObject({ code: "file_too_large", status: 413 });
  expect(await filesBelow(root)).toEqual([]);
});

test("a source that breaks off leaves nothing behind", async () => {
  const store = createFileStore({ root });
  async function* broken() {
    yield Buffer.from("half");
    throw new Error("connection lost");
  }
  const put = store.put({ workspaceId: "ws_a", stream: broken(), maxBytes: 100 });
  await expect(put).rejects.toThrow("connection lost");
  expect(await filesBelow(root)).toEqual([]);
});

test("a workspace does not see the content of another, even when it knows the hash", async () => {
  const store = createFileStore({ root });
  const { sha256 } = await store.put({ workspaceId: "ws_a", stream: streamOf("x"), maxBytes: 1 });
  expect(await store.size({ workspaceId: "ws_b", sha256 })).toBeUndefined();
});

test("contents and folders are for their owner only", async () => {
  const store = createFileStore({ root });
  const { sha256 } = await store.put({ workspaceId: "ws_a", stream: streamOf("x"), maxBytes: 1 });
  const path = store.path({ workspaceId: "ws_a", sha256 });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(dirname(path))).mode & 0o777).toBe(0o700);
  expect((await stat(join(root, "ws_a"))).mode & 0o777).toBe(0o700);
});

test("the same content twice, also at once, is one file", async () => {
  const store = createFileStore({ root });
  const put = () => store.put({ workspaceId: "ws_a", stream: streamOf("same"), maxBytes: 4 });
  await Promise.all([put(), put(), put()]);
  expect(await filesBelow(root)).toHaveLength(1);
});

test("a staged content is in the store only once it is kept, and gone once it is discarded", async () => {
  const store = createFileStore({ root });
  const stage = (part: string) =>
    store.stage({ workspaceId: "ws_a", stream: streamOf(part), maxBytes: 10 });
  const kept = await stage("kept");
  const discarded = await stage("discarded");
  expect(await store.size({ workspaceId: "ws_a", sha256: kept.sha256 })).toBeUndefined();
  await kept.keep();
  await discarded.discard();
  expect(await store.size({ workspaceId: "ws_a", sha256: kept.sha256 })).toBe(4);
  expect(await filesBelow(root)).toHaveLength(1);
});

test("a path out of the store cannot be named", () => {
  const store = createFileStore({ root });
  expect(() => store.path({ workspaceId: "ws_a", sha256: "../../etc/passwd" })).toThrow("SHA-256");
  expect(() => store.path({ workspaceId: "../ws_a", sha256: sha256Hex("") })).toThrow("workspace");
});

test("what a dead process left unfinished is removed, what is being written stays", async () => {
  await createFileStore({ root }).put({ workspaceId: "ws_a", stream: streamOf(""), maxBytes: 1 });
  const old = join(root, "ws_a", ".incoming", "old");
  const fresh = join(root, "ws_a", ".incoming", "fresh");
  await writeFile(old, "half");
  await writeFile(fresh, "half");
  const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
  await utimes(old, twoDaysAgo, twoDaysAgo);
  await createFileStore({ root }).put({ workspaceId: "ws_a", stream: streamOf("x"), maxBytes: 1 });
  expect(await readdir(join(root, "ws_a", ".incoming"))).toEqual(["fresh"]);
});
