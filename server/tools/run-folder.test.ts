import { execFileSync } from "node:child_process";
import {
  link,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openTestFolder, putInput } from "./fixture.ts";
import type { Anchoring } from "./folder/place.ts";
import { openRunFolder, type OpenRunFolderOptions, type RunFolder } from "./run-folder.ts";

const secret = "secret of another run";
const limits = { maxFileBytes: 1000, maxTotalBytes: 2500, maxFiles: 4 };

/** A run folder beside a folder with a file that nobody may reach. */
async function openWithOutside(options: Partial<OpenRunFolderOptions> = {}) {
  const opened = await openTestFolder(options);
  const outside = join(opened.base, "outside");
  await mkdir(outside);
  await writeFile(join(outside, "secret.txt"), secret);
  return { ...opened, outside };
}

async function readAll(folder: RunFolder, path: string): Promise<string> {
  const { handle } = await folder.openForRead(path);
  try {
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

const anchorings: Anchoring[] = ["descriptor", "path"];

describe.each(anchorings)("the folder of a run (children addressed by %s)", (anchoring) => {
  test("what was written is read back, and missing folders are made", async () => {
    const { folder, root } = await openTestFolder({ anchoring });
    expect(await folder.writeText("a/b/c.txt", "héllo")).toEqual({
      path: "a/b/c.txt",
      sizeBytes: 6,
    });
    expect(await folder.readText("a/b/c.txt")).toBe("héllo");
    expect(await readFile(join(root, "a/b/c.txt"), "utf8")).toBe("héllo");
    expect(await folder.stat("a/b/c.txt")).toMatchObject({ type: "file", sizeBytes: 6 });
    expect(await folder.stat("a/b")).toMatchObject({ type: "folder", sizeBytes: 0 });
  });

  test.each(["../outside/secret.txt", "/etc/passwd", "a/../../outside/secret.txt", "a\0", ""])(
    "the path %j is refused for reading, writing, listing and uploading",
    async (path) => {
      const { folder } = await openWithOutside({ anchoring });
      const refused = { code: "path_not_valid" };
      await expect(folder.openForRead(path)).rejects.toMatchObject(refused);
      await expect(folder.writeText(path, "x")).rejects.toMatchObject(refused);
      await expect(folder.stat(path)).rejects.toMatchObject(refused);
      await expect(folder.copyIn(Readable.from(["x"]), path)).rejects.toMatchObject(refused);
      if (path !== "") await expect(folder.list({ path })).rejects.toMatchObject(refused);
    },
  );

  test("a link to a file is neither read nor replaced nor listed", async () => {
    const { folder, root, outside } = await openWithOutside({ anchoring });
    await symlink(join(outside, "secret.txt"), join(root, "link.txt"));
    const refused = {
      code: "path_not_allowed",
      publicMessage: expect.stringContaining("symbolic link"),
    };
    await expect(folder.openForRead("link.txt")).rejects.toMatchObject(refused);
    await expect(folder.stat("link.txt")).rejects.toMatchObject(refused);
    await expect(folder.writeText("link.txt", "x")).rejects.toMatchObject(refused);
    expect(await folder.list()).toEqual({ entries: [], truncated: false });
    expect(await readFile(join(outside, "secret.txt"), "utf8")).toBe(secret);
  });

  test("a link to a folder is not passed, also not to a folder inside", async () => {
    const { folder, root, outside } = await openWithOutside({ anchoring });
    await mkdir(join(root, "real"));
    await symlink(outside, join(root, "away"));
    await symlink("real", join(root, "near"));
    for (const name of ["away", "near"]) {
      const refused = { code: "path_not_allowed" };
      await expect(folder.openForRead(`${name}/secret.txt`)).rejects.toMatchObject(refused);
      await expect(folder.writeText(`${name}/new.txt`, "x")).rejects.toMatchObject(refused);
      await expect(folder.list({ path: name })).rejects.toMatchObject(refused);
    }
    expect(await readdir(outside)).toEqual(["secret.txt"]);
    expect((await folder.list()).entries.map((entry) => entry.path)).toEqual(["real"]);
  });

  test("a file swapped for a link between check and use is refused", async () => {
    const swap = { run: () => Promise.resolve() };
    const { folder, root, outside } = await openWithOutside({
      anchoring,
      racePoint: () => swap.run(),
    });
    await folder.writeText("a.txt", "mine");
    swap.run = async () => {
      await rm(join(root, "a.txt"));
      await symlink(join(outside, "secret.txt"), join(root, "a.txt"));
    };
    await expect(readAll(folder, "a.txt")).rejects.toMatchObject({ code: "path_not_allowed" });
  });

  test("a folder swapped for a link between check and use is refused", async () => {
    const swap = { run: () => Promise.resolve() };
    const { folder, root, outside } = await openWithOutside({
      anchoring,
      racePoint: () => swap.run(),
    });
    await folder.writeText("sub/secret.txt", "mine");
    swap.run = async () => {
      await rename(join(root, "sub"), join(root, "moved"));
      await symlink(outside, join(root, "sub"));
    };
    await expect(readAll(folder, "sub/secret.txt")).rejects.toMatchObject({
      code: "path_not_allowed",
    });
  });

  test("a folder swapped for a link during a write leaves everything outside as it was", async () => {
    const swap = { run: () => Promise.resolve() };
    const { folder, root, outside } = await openWithOutside({
      anchoring,
      racePoint: () => swap.run(),
    });
    await mkdir(join(root, "sub"));
    swap.run = async () => {
      await rename(join(root, "sub"), join(root, "moved"));
      await symlink(outside, join(root, "sub"));
    };
    await folder.writeText("sub/secret.txt", "overwritten").catch(() => undefined);
    expect(await readdir(outside)).toEqual(["secret.txt"]);
    expect(await readFile(join(outside, "secret.txt"), "utf8")).toBe(secret);
  });

  test("a file swapped for a pipe between check and use does not hang", async () => {
    const swap = { run: () => Promise.resolve() };
    const { folder, root } = await openTestFolder({ anchoring, racePoint: () => swap.run() });
    await folder.writeText("a.txt", "mine");
    swap.run = async () => {
      await rm(join(root, "a.txt"));
      execFileSync("mkfifo", [join(root, "a.txt")]);
    };
    await expect(readAll(folder, "a.txt")).rejects.toMatchObject({ code: "path_not_allowed" });
  });

  test("pipes, hard links to outside and devices are refused and not listed", async () => {
    const { folder, root, outside } = await openWithOutside({ anchoring });
    execFileSync("mkfifo", [join(root, "pipe")]);
    await link(join(outside, "secret.txt"), join(root, "hard.txt"));
    await symlink("/dev/zero", join(root, "zero"));
    for (const name of ["pipe", "hard.txt", "zero"]) {
      await expect(folder.openForRead(name)).rejects.toMatchObject({ code: "path_not_allowed" });
      await expect(folder.writeText(name, "x")).rejects.toMatchObject({ code: "path_not_allowed" });
    }
    expect((await folder.list()).entries).toEqual([]);
    expect(await readFile(join(outside, "secret.txt"), "utf8")).toBe(secret);
  });

  test("whatever the path, no byte from outside is read and none is written there", async () => {
    const { folder, root, outside } = await openWithOutside({ anchoring });
    await mkdir(join(root, "d"));
    await symlink(outside, join(root, "away"));
    await symlink("../..", join(root, "d", "up"));
    await symlink(join(outside, "secret.txt"), join(root, "d", "file"));
    const part = fc.constantFrom(
      "..",
      ".",
      "",
      "d",
      "up",
      "away",
      "outside",
      "file",
      "secret.txt",
      "run",
      "new",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 6 }), async (segments) => {
        const path = segments.join("/");
        const read = await readAll(folder, path).catch(() => "refused");
        expect(read).not.toContain(secret);
        await folder.writeText(path, "mine").catch(() => undefined);
        expect(await readdir(outside)).toEqual(["secret.txt"]);
      }),
      { numRuns: 300 },
    );
    expect(await readFile(join(outside, "secret.txt"), "utf8")).toBe(secret);
  });

  test("a folder is no file and a file is no folder", async () => {
    const { folder } = await openTestFolder({ anchoring });
    await folder.writeText("d/a.txt", "x");
    await expect(folder.openForRead("d")).rejects.toMatchObject({ code: "path_conflict" });
    await expect(folder.writeText("d", "x")).rejects.toMatchObject({ code: "path_conflict" });
    await expect(folder.writeText("d/a.txt/b", "x")).rejects.toMatchObject({
      code: "path_conflict",
    });
    await expect(folder.openForRead("d/none")).rejects.toMatchObject({ code: "path_not_found" });
    await expect(folder.list({ path: "none" })).rejects.toMatchObject({ code: "path_not_found" });
  });
});

describe("the contents of a run's folder", () => {
  test("a folder deleted during a write is named, not a fault of the system", async () => {
    const swap = { run: () => Promise.resolve() };
    const { folder, root } = await openTestFolder({ racePoint: () => swap.run() });
    swap.run = () => rm(join(root, "sub"), { recursive: true });
    await expect(folder.writeText("sub/a.txt", "x")).rejects.toMatchObject({
      code: "path_not_allowed",
      publicMessage: '"sub/a.txt" was replaced or moved while it was being used.',
    });
  });

  test("uploaded input is read-only for agents and is not among the written files", async () => {
    const { folder } = await openTestFolder();
    await putInput(folder, "a.csv", "id\n1\n");
    for (const path of ["input/a.csv", "input/b.csv", "input", "Input/a.csv"]) {
      await expect(folder.writeText(path, "x")).rejects.toMatchObject({ code: "path_read_only" });
    }
    await folder.writeText("z.md", "zz");
    await folder.writeText("b/a.md", "a");
    expect(await folder.listWritten()).toEqual([
      { path: "b/a.md", sizeBytes: 1 },
      { path: "z.md", sizeBytes: 2 },
    ]);
    expect(await folder.readText("input/a.csv")).toBe("id\n1\n");
  });

  test("the listing is sorted by path and says when it was cut", async () => {
    const { folder } = await openTestFolder();
    for (const path of ["b.txt", "a/x.txt", "a-b.txt"]) await folder.writeText(path, "1");
    const { entries, truncated } = await folder.list();
    expect(entries.map((entry) => entry.path)).toEqual(["a", "a-b.txt", "a/x.txt", "b.txt"]);
    expect(truncated).toBe(false);
    expect(await folder.list({ limit: 1 })).toMatchObject({
      entries: [{ path: "a" }],
      truncated: true,
    });
    expect((await folder.list({ path: "a" })).entries).toEqual([
      { path: "a/x.txt", type: "file", sizeBytes: 1 },
    ]);
  });

  test("a file above the limit of one file is refused, and the old one stays", async () => {
    const { folder } = await openTestFolder({ limits });
    await folder.writeText("a.txt", "old");
    await expect(folder.writeText("a.txt", "x".repeat(1001))).rejects.toMatchObject({
      code: "file_too_large",
    });
    expect(await folder.readText("a.txt")).toBe("old");
    expect(await folder.writeText("a.txt", "x".repeat(1000))).toMatchObject({ sizeBytes: 1000 });
  });

  test("the total is exact: the last free byte can be used, none beyond", async () => {
    const { folder } = await openTestFolder({ limits });
    await folder.writeText("a", "x".repeat(1000));
    await folder.writeText("b", "x".repeat(1000));
    await expect(folder.writeText("new/c", "x".repeat(501))).rejects.toMatchObject({
      code: "folder_full",
    });
    expect((await folder.list()).entries.map((entry) => entry.path)).toEqual(["a", "b"]);
    await folder.writeText("c", "x".repeat(500));
    // Replacing frees what the old file took.
    await folder.writeText("c", "y".repeat(500));
    expect(await folder.totals()).toEqual({ files: 3, totalBytes: 2500 });
  });

  test("one file too many is refused, replacing one is not", async () => {
    const { folder } = await openTestFolder({ limits });
    for (const name of ["a", "b", "c", "d"]) await folder.writeText(name, "1");
    await expect(folder.writeText("e", "1")).rejects.toMatchObject({ code: "folder_full" });
    await folder.writeText("d", "2");
    expect(await folder.readText("d")).toBe("2");
  });

  test("writes at the same time cannot pass the limit together", async () => {
    const { folder } = await openTestFolder({ limits });
    const writes = ["a", "b", "c", "d"].map((name) => folder.writeText(name, "x".repeat(900)));
    const outcomes = await Promise.allSettled(writes);
    expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(2);
    expect(await folder.totals()).toEqual({ files: 2, totalBytes: 1800 });
  });

  test("an upload stops at the limit without reading on, and leaves nothing behind", async () => {
    const { folder, root } = await openTestFolder({ limits });
    let produced = 0;
    function* endless() {
      for (;;) {
        produced += 1;
        yield Buffer.alloc(100);
      }
    }
    const source = Readable.from(endless(), { highWaterMark: 1 });
    await expect(folder.copyIn(source, "input/a.bin")).rejects.toMatchObject({
      code: "file_too_large",
    });
    expect(source.destroyed).toBe(true);
    expect(produced).toBeLessThan(20);
    expect(await readdir(join(root, "input"))).toEqual([]);
  });

  test("an upload that breaks off leaves the old file whole", async () => {
    const { folder, root } = await openTestFolder();
    await putInput(folder, "a.txt", "old");
    async function* broken() {
      yield "half of the new";
      await Promise.resolve();
      throw new Error("connection lost");
    }
    await expect(folder.copyIn(Readable.from(broken()), "input/a.txt")).rejects.toThrow(
      "connection lost",
    );
    expect(await readdir(join(root, "input"))).toEqual(["a.txt"]);
    expect(await folder.readText("input/a.txt")).toBe("old");
  });

  test("files that something else put there count, also those that cannot be opened", async () => {
    const { folder, root } = await openTestFolder({ limits });
    await writeFile(join(root, ".guildhall-unfinished-x"), "");
    await truncate(join(root, ".guildhall-unfinished-x"), 2400);
    await expect(folder.writeText("a", "x".repeat(101))).rejects.toMatchObject({
      code: "folder_full",
    });
    expect((await folder.list()).entries).toEqual([]);
  });

  test("a text that is too long to be read at once is refused", async () => {
    const { folder } = await openTestFolder();
    await folder.writeText("a", "12345");
    await expect(folder.readText("a", 4)).rejects.toMatchObject({ code: "file_too_large" });
    expect(await folder.readText("a", 5)).toBe("12345");
  });

  test("the root may itself lie behind a link: the platform named it", async () => {
    const { base } = await openTestFolder();
    await mkdir(join(base, "real"));
    await symlink("real", join(base, "alias"));
    const folder = await openRunFolder({ root: join(base, "alias"), limits });
    await folder.writeText("a", "1");
    expect(await readFile(join(base, "real", "a"), "utf8")).toBe("1");
  });
});
