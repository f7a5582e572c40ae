import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256Hex } from "../secret.ts";
import { createLocalFileStore } from "./open-file-store.ts";

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
  const store = createLocalFileStore(root);
  const stored = await store.put({
    workspaceId: "ws_a",
    stream: streamOf("name,", "amount\n"),
    maxBytes: 12,
  });
  expect(stored).toEqual({ sha256: sha256Hex("name,amount\n"), sizeBytes: 12 });
  const key = { workspaceId: "ws_a", sha256: stored.sha256 };
  expect(await text(await store.open(key))).toBe("name,amount\n");
});

test("one byte too many is refused and nothing is kept", async () => {
  const store = createLocalFileStore(root);
  const put = store.put({ workspaceId: "ws_a", stream: streamOf("1234", "5"), maxBytes: 4 });
  await expect(put).rejects.toMatchObject({ code: "file_too_large", status: 413 });
  expect(await filesBelow(root)).toEqual([]);
});

test("a source that breaks off leaves nothing behind", async () => {
  const store = createLocalFileStore(root);
  async function* broken() {
    yield Buffer.from("half");
    throw new Error("connection lost");
  }
  const put = store.put({ workspaceId: "ws_a", stream: broken(), maxBytes: 100 });
  await expect(put).rejects.toThrow("connection lost");
  expect(await filesBelow(root)).toEqual([]);
});

test("the same content twice, also at once, is one file", async () => {
  const store = createLocalFileStore(root);
  const put = () => store.put({ workspaceId: "ws_a", stream: streamOf("same"), maxBytes: 4 });
  await Promise.all([put(), put(), put()]);
  expect(await filesBelow(root)).toHaveLength(1);
});

test("a staged content is in the store only once it is kept, and gone once it is discarded", async () => {
  const store = createLocalFileStore(root);
  const stage = (part: string) => store.stage({ stream: streamOf(part), maxBytes: 10 });
  const [kept, discarded] = [await stage("kept"), await stage("discarded")];
  const key = { workspaceId: "ws_a", sha256: kept.sha256 };
  await expect(store.open(key)).rejects.toMatchObject({ code: "content_missing" });
  await store.keep("ws_a", [kept]);
  await kept.discard();
  await discarded.discard();
  expect(await text(await store.open(key))).toBe("kept");
  expect(await filesBelow(root)).toHaveLength(1);
});

test("what a dead process left unfinished is removed, what is being written stays", async () => {
  const put = () =>
    createLocalFileStore(root).put({ workspaceId: "ws_a", stream: streamOf(""), maxBytes: 1 });
  await put();
  const [old, fresh] = ["old", "fresh"].map((name) => join(root, ".incoming", name));
  await writeFile(old!, "half");
  await writeFile(fresh!, "half");
  const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
  await utimes(old!, twoDaysAgo, twoDaysAgo);
  await put();
  expect(await readdir(join(root, ".incoming"))).toEqual(["fresh"]);
});
