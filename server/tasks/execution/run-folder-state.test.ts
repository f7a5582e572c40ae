import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test, vi } from "vitest";
import { fileStoreOver } from "../../platform/file-store/open-file-store.ts";
import { createLocalObjects } from "../../platform/file-store/local-objects.ts";
import { createLogger } from "../../platform/log.ts";
import { sha256Hex } from "../../platform/secret.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createTenant } from "../../test/tenant.ts";
import { openTestFolder } from "../../tools/fixture.ts";
import type { KeptFolder } from "../../tools/run-folder.ts";
import { OPENED_AT_ONCE, restoreFolder } from "./run-folder-restore.ts";
import { createFolderState } from "./run-folder-state.ts";
import type { KeptEntry } from "./run-snapshot.ts";

const { db, admin } = await createTestDatabase();
const log = createLogger({ level: "silent" });

/** A run's folder with its state, and what was read and sent so far. */
async function open({ nowMs, ...options }: { quotaBytes?: number; nowMs?: () => number } = {}) {
  const filesFolder = await mkdtemp(join(tmpdir(), "guildhall-state-"));
  onTestFinished(() => rm(filesFolder, { recursive: true, force: true }));
  const { workspaceId } = await createTenant(admin);
  const objects = createLocalObjects({ root: filesFolder });
  const sent: string[] = [];
  const files = fileStoreOver(
    {
      ...objects,
      put(name, file) {
        sent.push(file.sha256);
        return objects.put(name, file);
      },
    },
    { db, log, filesFolder, ...options },
  );
  const opened = await openTestFolder();
  const read: string[] = [];
  const folder: KeptFolder = {
    ...opened.folder,
    openForRead(path) {
      read.push(path);
      return opened.folder.openForRead(path);
    },
  };
  const state = createFolderState({
    folder,
    files,
    workspaceId,
    maxFileBytes: 1_000,
    recorded: [],
    ...(nowMs === undefined ? {} : { nowMs }),
  });
  const at = (path: string) => join(opened.root, path);
  return { ...opened, folder, files, workspaceId, state, sent, read, at };
}

const entry = (path: string, content: string, mode = 0o644): KeptEntry => ({
  path,
  sha256: sha256Hex(content),
  sizeBytes: Buffer.byteLength(content),
  mode,
});
test("only what changed is told, and only new contents are sent, whatever their path", async () => {
  const { folder, state, sent, at } = await open();
  await folder.writeText("a.txt", "one");
  await folder.writeText("deep/b.txt", "two");
  const first = await state.capture();
  expect(first.changed).toEqual([entry("a.txt", "one"), entry("deep/b.txt", "two")]);
  state.recorded(first);
  expect(await state.capture()).toMatchObject({ changed: [], removed: [] });

  await rename(at("a.txt"), at("c.txt"));
  await folder.writeText("deep/b.txt", "new");
  await chmod(at("deep/b.txt"), 0o755);
  const second = await state.capture();
  expect(second.changed).toEqual([entry("c.txt", "one"), entry("deep/b.txt", "new", 0o755)]);
  expect(second.removed).toEqual(["a.txt"]);
  expect(sent.toSorted()).toEqual(["one", "two", "new"].map((text) => sha256Hex(text)).toSorted());
});

test("a folder that did not change is looked at, and none of its files is read", async () => {
  const { folder, state, read } = await open({ nowMs: () => Date.now() + 1_000 });
  for (const name of ["a", "b", "c"]) await folder.writeText(name, name);
  state.recorded(await state.capture());
  read.length = 0;
  await state.capture();
  expect(read).toEqual([]);
  await folder.writeText("b", "x");
  await state.capture();
  expect([...new Set(read)]).toEqual(["b"]);
});

test("a change of the same size whose time was set back is noticed, and one within a tick of the disk's clock, too", async () => {
  const { folder, files, workspaceId, at } = await open();
  const then = new Date(1_000);
  const slowClock: KeptFolder = {
    ...folder,
    survey: async () =>
      (await folder.survey()).map((found) => ({ ...found, stamp: "of the same tick" })),
  };
  for (const watched of [folder, slowClock]) {
    const options = { files, workspaceId, maxFileBytes: 1_000, recorded: [] };
    const state = createFolderState({ ...options, folder: watched });
    await folder.writeText("a.txt", "one");
    state.recorded(await state.capture());
    await writeFile(at("a.txt"), "two");
    await utimes(at("a.txt"), then, then);
    expect((await state.capture()).changed).toEqual([entry("a.txt", "two")]);
  }
});

test("inputs, links, pipes and files with several names are no part of the state; empty folders are", async () => {
  const { folder, state, at } = await open();
  await mkdir(at("input"));
  await writeFile(at("input/a.csv"), "a");
  await folder.writeText("a.txt", "one");
  await symlink("/etc/passwd", at("link"));
  await link(at("a.txt"), at("other-name.txt"));
  await mkdir(at("empty/er"), { recursive: true });
  await folder.writeText("b.txt", "two");
  expect((await state.capture()).changed).toEqual([
    { path: "empty/er", sha256: null, sizeBytes: 0, mode: 0o755 },
    entry("b.txt", "two"),
  ]);
});

test("when new files find no room, none of them is kept, and the folder goes back to what it was", async () => {
  const { folder, state, at, sent, root } = await open({ quotaBytes: 10 });
  await folder.writeText("a.txt", "0123456");
  state.recorded(await state.capture());
  await folder.writeText("a.txt", "9876543210");
  await folder.writeText("new/b.txt", "b");
  await symlink("/etc", at("etc"));
  await expect(state.capture()).rejects.toMatchObject({ code: "storage_quota_exceeded" });
  await state.rollBack();
  expect((await readdir(root)).toSorted()).toEqual(["a.txt"]);
  expect(await folder.readText("a.txt")).toBe("0123456");
  expect(sent).toHaveLength(1);
  expect(await state.capture()).toMatchObject({ changed: [], removed: [] });
  // What the folder may hold is counted anew.
  await folder.writeText("c.txt", "abc");
  expect((await state.capture()).changed).toEqual([entry("c.txt", "abc")]);
});

test("a folder asks the store for several contents at once, and for no more than a few", async () => {
  const { folder, files, workspaceId, state, at } = await open();
  for (let n = 0; n < 20; n++) await folder.writeText(`dir-${n}/file.txt`, `content ${n}`);
  const { state: recorded } = await state.capture();
  for (let n = 0; n < 20; n++) await rm(at(`dir-${n}`), { recursive: true });
  const asked: (() => void)[] = [];
  let mostAsked = 0;
  /** Answers nobody before so many have asked as may. */
  const slow = {
    ...files,
    async open(key: Parameters<typeof files.open>[0]) {
      await new Promise<void>((answer) => {
        asked.push(answer);
        mostAsked = Math.max(mostAsked, asked.length);
      });
      return files.open(key);
    },
  };
  const entries = [...recorded.values()];
  let left = entries.filter(({ sha256 }) => sha256 !== null).length;
  const restored = restoreFolder({ folder, files: slow, workspaceId }, entries);
  while (left > 0) {
    const wanted = Math.min(left, OPENED_AT_ONCE);
    await vi.waitUntil(() => asked.length === wanted, { timeout: 20_000 });
    left -= wanted;
    for (const answer of asked.splice(0)) answer();
  }
  await restored;
  expect(mostAsked).toBe(OPENED_AT_ONCE);
  for (let n = 0; n < 20; n++)
    expect(await folder.readText(`dir-${n}/file.txt`)).toBe(`content ${n}`);
});

test("a folder is made exactly what was recorded: what lies there just so is not fetched, and nothing else stays", async () => {
  const there = await open();
  const { folder, files, workspaceId, state, at } = there;
  await folder.writeText("same.txt", "same");
  await folder.writeText("spoilt.txt", "good");
  await folder.writeText("same-bytes.txt", "other mode");
  await folder.writeText("gone.txt", "gone");
  await folder.writeText("dir/program", "#!");
  await chmod(at("dir/program"), 0o750);
  const { state: recorded } = await state.capture();
  await writeFile(at("spoilt.txt"), "evil");
  await chmod(at("same-bytes.txt"), 0o600);
  await rm(at("gone.txt"));
  await mkdir(at("gone.txt/in/the/way"), { recursive: true });
  await rm(at("dir"), { recursive: true });
  await symlink(at("input"), at("dir"));
  await writeFile(at(".guildhall-unfinished-1"), "half");
  await mkdir(at("input"));
  await writeFile(at("input/a.csv"), "input");
  const fetched: string[] = [];
  const counting = {
    ...files,
    open(key: Parameters<typeof files.open>[0]) {
      fetched.push(key.sha256);
      return files.open(key);
    },
  };
  await restoreFolder({ folder, files: counting, workspaceId }, [...recorded.values()]);
  const again = createFolderState({
    folder,
    files,
    workspaceId,
    maxFileBytes: 1_000,
    recorded: [...recorded.values()],
  });
  expect(await again.capture()).toMatchObject({ changed: [], removed: [] });
  expect((await readdir(at("."))).toSorted()).toEqual(
    ["dir", "gone.txt", "input", "same-bytes.txt", "same.txt", "spoilt.txt"].toSorted(),
  );
  expect(fetched).toHaveLength(4);
  expect(await folder.readText("input/a.csv")).toBe("input");
});

type Act = { do: "write" | "remove" | "folder"; path: string; content: string };
const acts = fc.array(
  fc.record<Act>({
    do: fc.constantFrom("write", "write", "remove", "folder"),
    path: fc.constantFrom("a", "b", "d/a", "d/b", "d/e/f"),
    content: fc.constantFrom("", "x", "y", "zz"),
  }),
  { maxLength: 8 },
);

test("whatever is done between two steps: recorded changes add up to the folder, and another machine makes the same of them", async () => {
  const { folder, files, workspaceId, at, root } = await open();
  await fc.assert(
    fc.asyncProperty(fc.array(acts, { minLength: 1, maxLength: 4 }), async (steps) => {
      for (const name of await readdir(root)) await rm(at(name), { recursive: true });
      const options = { files, workspaceId, maxFileBytes: 1_000, recorded: [] };
      const state = createFolderState({ ...options, folder });
      const table = new Map<string, KeptEntry>();
      for (const step of steps) {
        for (const act of step) {
          if (act.do === "remove") await rm(at(act.path), { recursive: true, force: true });
          else if (act.do === "folder")
            await mkdir(at(act.path), { recursive: true }).catch(() => undefined);
          else await folder.writeText(act.path, act.content).catch(() => undefined);
        }
        const captured = await state.capture();
        for (const path of captured.removed) table.delete(path);
        for (const changed of captured.changed) table.set(changed.path, changed);
        state.recorded(captured);
      }
      const other = await openTestFolder();
      await restoreFolder({ folder: other.folder, files, workspaceId }, [...table.values()]);
      const seen = createFolderState({ ...options, folder: other.folder });
      const { state: made } = await seen.capture();
      expect(made).toEqual(table);
      const paths = async (of: KeptFolder) => (await of.list()).entries;
      expect(await paths(other.folder)).toEqual(await paths(folder));
    }),
    { numRuns: 25 },
  );
});
