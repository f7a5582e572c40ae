import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sha256Hex } from "../secret.ts";
import { createLocalObjects } from "./local-objects.ts";
import type { ObjectStore } from "./object-store.ts";
import { startS3 } from "./s3-fixture.ts";
import { createS3Objects } from "./s3-objects.ts";

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "guildhall-objects-"));
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

type Opened = { store: ObjectStore; again(): Promise<ObjectStore>; close(): Promise<void> };

async function openLocal(): Promise<Opened> {
  const root = join(scratch, "local");
  const again = () => Promise.resolve(createLocalObjects({ root }));
  return { store: await again(), again, close: () => Promise.resolve() };
}

async function openS3(): Promise<Opened> {
  const server = await startS3();
  const again = () => createS3Objects(server.settings);
  return { store: await again(), again, close: server.close };
}

let count = 0;
async function fileOf(content: string | Buffer) {
  const path = join(scratch, `file-${++count}`);
  await writeFile(path, content);
  const bytes = Buffer.from(content);
  return { path, sizeBytes: bytes.byteLength, sha256: sha256Hex(bytes) };
}
const nameOf = (workspaceId: string, content: string | Buffer, no?: number) => ({
  workspaceId,
  object: `${sha256Hex(Buffer.from(content))}${no === undefined ? "" : `.${no}`}`,
});

describe.each([
  ["the local disk", openLocal],
  ["S3", openS3],
])("%s", (_name, open) => {
  let opened: Opened;
  let store: ObjectStore;
  beforeAll(async () => {
    opened = await open();
    ({ store } = opened);
  });
  afterAll(() => opened.close());

  test("it passes its own check, and tells where it is", async () => {
    await store.check();
    expect(store.description).not.toBe("");
  });

  test("a content is read back byte for byte, also by another process", async () => {
    const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_none, n) => (n * 31) % 251));
    const name = nameOf("ws_a", bytes);
    await store.put(name, await fileOf(bytes));
    const other = await opened.again();
    expect((await buffer(await other.open(name))).equals(bytes)).toBe(true);
  });

  test("an empty content is a content", async () => {
    const name = nameOf("ws_a", "");
    await store.put(name, await fileOf(""));
    expect(await text(await store.open(name))).toBe("");
  });

  test("opening what is not there says so", async () => {
    const name = nameOf("ws_a", "never stored");
    await expect(store.open(name)).rejects.toMatchObject({ code: "content_missing", status: 500 });
  });

  test("putting the same again, also at once, changes nothing", async () => {
    const name = nameOf("ws_a", "same");
    await Promise.all([1, 2, 3, 4].map(async () => store.put(name, await fileOf("same"))));
    expect(await text(await store.open(name))).toBe("same");
  });

  test("a workspace does not see the content of another, even when it knows the hash", async () => {
    await store.put(nameOf("ws_a", "mine"), await fileOf("mine"));
    await expect(store.open(nameOf("ws_b", "mine"))).rejects.toThrow("content");
  });

  test("a removed content is gone, its namesake with another number stays, and removing twice is no error", async () => {
    const [first, second] = [nameOf("ws_a", "twice", 1), nameOf("ws_a", "twice", 2)];
    await store.put(first, await fileOf("twice"));
    await store.put(second, await fileOf("twice"));
    await store.remove(first);
    await store.remove(first);
    await expect(store.open(first)).rejects.toThrow("content");
    expect(await text(await store.open(second))).toBe("twice");
  });

  test("a path out of the store cannot be named", async () => {
    const object = sha256Hex("");
    for (const name of [
      { workspaceId: "ws_a", object: "../../etc/passwd" },
      { workspaceId: "../ws_a", object },
      { workspaceId: "ws_a", object: `${object}.1/../x` },
    ])
      await expect(async () => store.open(name)).rejects.toThrow(/name of a content|workspace id/);
  });
});

test("local contents and their folders are for their owner only", async () => {
  const root = join(scratch, "modes");
  const name = nameOf("ws_a", "x");
  await createLocalObjects({ root }).put(name, await fileOf("x"));
  const folder = join(root, "ws_a", name.object.slice(0, 2));
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect(await readdir(folder)).toEqual([name.object]);
});
