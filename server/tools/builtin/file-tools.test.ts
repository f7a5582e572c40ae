import { link, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openToolbox, putInput } from "../fixture.ts";
import { maxResultBytes } from "../result-text.ts";

type Listing = {
  entries: { path: string; type: string; size_bytes: number }[];
  truncated: boolean;
};
type Reading = { path: string; content: string; total_lines: number; truncated: boolean };
type Search = { matches: { path: string; line: number; text: string }[]; truncated: boolean };

function numbered(count: number): string {
  return Array.from({ length: count }, (_, index) => `line ${index + 1}\n`).join("");
}

describe("list_files", () => {
  test("lists everything below the folder in its stated format", async () => {
    const { folder, call } = await openToolbox();
    await putInput(folder, "a.csv", "id\n1\n");
    await folder.writeText("report.md", "#");
    const result = await call("list_files", {});
    expect(result.content).toBe(
      '{"entries":[{"path":"input","type":"folder","size_bytes":0},{"path":"input/a.csv","type":"file","size_bytes":5},' +
        '{"path":"report.md","type":"file","size_bytes":1}],"truncated":false}',
    );
    expect(result.summary).toBe("Listed the folder (3 entries)");
  });

  test("stops at 500 entries, and earlier when long names would not fit, and stays valid JSON", async () => {
    const { root, read, call } = await openToolbox();
    await mkdir(join(root, "many"));
    await Promise.all(
      Array.from({ length: 501 }, (_, n) => writeFile(join(root, "many", `${n}`), "")),
    );
    const many = await read<Listing>("list_files", { path: "many" });
    expect(many.entries).toHaveLength(500);
    expect(many.truncated).toBe(true);
    await mkdir(join(root, "long"));
    await Promise.all(
      Array.from({ length: 400 }, (_, n) =>
        writeFile(join(root, "long", `${n}-${"x".repeat(240)}`), ""),
      ),
    );
    const long = await call("list_files", { path: "long" });
    expect(Buffer.byteLength(long.content)).toBeLessThanOrEqual(maxResultBytes);
    expect((JSON.parse(long.content) as Listing).truncated).toBe(true);
  });
});

describe("read_file", () => {
  test("reads 200 lines unless told otherwise, and says that there are more", async () => {
    const { folder, read, call } = await openToolbox();
    const path = await putInput(folder, "a.txt", numbered(500));
    const start = await read<Reading>("read_file", { path });
    expect(start).toMatchObject({ path, total_lines: 500, truncated: true });
    expect(start.content.split("\n")).toHaveLength(200);
    const end = await read<Reading>("read_file", { path, offset: 499, limit: 10 });
    expect(end).toEqual({
      path,
      content: "line 499\nline 500",
      total_lines: 500,
      truncated: false,
    });
    expect((await call("read_file", { path, limit: 1 })).summary).toBe(
      "Read input/a.txt (1 of 500 lines)",
    );
  });

  test.each([
    ["", "", 0],
    ["one", "one", 1],
    ["one\n", "one", 1],
    ["one\r\ntwo\r\n", "one\ntwo", 2],
    ["\n\n", "\n", 2],
    ["\ufeffmarked", "marked", 1],
  ])("%j counts its lines as editors do", async (text, content, total) => {
    const { folder, read } = await openToolbox();
    const path = await putInput(folder, "a.txt", text);
    expect(await read<Reading>("read_file", { path })).toMatchObject({
      content,
      total_lines: total,
    });
  });

  test("an offset behind the end gives no content and the true number of lines", async () => {
    const { folder, read } = await openToolbox();
    const path = await putInput(folder, "a.txt", numbered(3));
    const result = await read<Reading>("read_file", { path, offset: 10 });
    expect(result).toEqual({ path, content: "", total_lines: 3, truncated: false });
  });

  test("text that is not UTF-8 is read by its mark or as Windows-1252", async () => {
    const { folder, read } = await openToolbox();
    const latin = await putInput(folder, "latin.txt", Buffer.from("M\xfcnchen", "latin1"));
    const wide = await putInput(folder, "wide.txt", Buffer.from("\ufeffMünchen", "utf16le"));
    for (const path of [latin, wide]) {
      expect((await read<Reading>("read_file", { path })).content).toBe("München");
    }
  });

  test("a binary file is refused with the reason", async () => {
    const { folder, call } = await openToolbox();
    const path = await putInput(folder, "a.png", Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2]));
    const result = await call("read_file", { path });
    expect(result).toMatchObject({
      isError: true,
      content: expect.stringContaining("binary file"),
    });
  });

  test("characters that lie across two reads arrive whole", async () => {
    const { folder, read } = await openToolbox();
    const line = `${"x".repeat(1021)}€\n`;
    const path = await putInput(folder, "a.txt", line.repeat(1000));
    const result = await read<Reading>("read_file", { path, offset: 250, limit: 20 });
    expect(result.content).toBe(line.repeat(20).trimEnd());
    expect(result.total_lines).toBe(1000);
  });

  test("long lines are cut so that the result stays valid JSON, and the rest can be read on", async () => {
    const { folder, read, call } = await openToolbox();
    const path = await putInput(folder, "a.json", `first\n${'"€'.repeat(400_000)}\nlast\n`);
    const raw = await call("read_file", { path });
    expect(Buffer.byteLength(raw.content)).toBeLessThanOrEqual(maxResultBytes);
    expect(JSON.parse(raw.content)).toEqual({
      path,
      content: "first",
      total_lines: 3,
      truncated: true,
    });
    const second = await read<Reading>("read_file", { path, offset: 2, limit: 1 });
    expect(second.content).toMatch(/\[line cut here\]$/);
    expect(second.truncated).toBe(true);
    expect((await read<Reading>("read_file", { path, offset: 3 })).content).toBe("last");
  });

  test.each([{ offset: 0 }, { limit: 0 }, { limit: 2001 }, { offset: 1.5 }])(
    "%j is refused",
    async (range) => {
      const { call } = await openToolbox();
      expect(await call("read_file", { path: "a", ...range })).toMatchObject({ isError: true });
    },
  );
});

describe("write_file", () => {
  test("reports what it wrote, and the same call again leaves the same", async () => {
    const { folder, call, registry } = await openToolbox();
    const wrote = { path: "out/report.md", sizeBytes: 3 };
    for (let n = 0; n < 2; n += 1) {
      const result = await call("write_file", { path: "out/report.md", content: "hé" });
      expect(result).toEqual({
        isError: false,
        content: '{"path":"out/report.md","size_bytes":3}',
        summary: "Wrote out/report.md (3 bytes)",
        wrote,
      });
    }
    expect(await folder.listWritten()).toEqual([wrote]);
    expect(registry.find("write_file")?.effect).toBe("idempotent");
  });

  test("a refusal tells the model why and where to write instead", async () => {
    const { call } = await openToolbox();
    const result = await call("write_file", { path: "input/a.csv", content: "" });
    expect(result.isError).toBe(true);
    expect(result.content).toContain("read-only");
    expect(result.content).toContain("report.md");
    expect(result.wrote).toBeUndefined();
  });
});

describe("search_files", () => {
  test("finds lines in all text files, whatever their case, by path and line", async () => {
    const { folder, read, call } = await openToolbox();
    await putInput(folder, "a.log", "ok\nERROR one\n");
    await putInput(folder, "b.log", "an error two\r\n");
    await putInput(folder, "c.bin", Buffer.from("error\0"));
    expect(await read<Search>("search_files", { query: "error" })).toEqual({
      matches: [
        { path: "input/a.log", line: 2, text: "ERROR one" },
        { path: "input/b.log", line: 1, text: "an error two" },
      ],
      truncated: false,
    });
    expect(
      (await read<Search>("search_files", { query: "error", path: "input/b.log" })).matches,
    ).toHaveLength(1);
    expect((await call("search_files", { query: "nowhere" })).summary).toBe(
      'Searched 3 files for "nowhere" (0 matches)',
    );
  });

  test("without regex the query is taken as it is", async () => {
    const { folder, read } = await openToolbox();
    await putInput(folder, "a.txt", "a.c\nabc\n");
    const { matches } = await read<Search>("search_files", { query: "a.c" });
    expect(matches.map((match) => match.line)).toEqual([1]);
  });

  test("a regular expression matches by line, with its own anchors and classes", async () => {
    const { folder, read } = await openToolbox();
    await putInput(folder, "a.txt", "x1\nX22\n\n x3 \n");
    const lines = async (query: string) =>
      (await read<Search>("search_files", { query, regex: true })).matches.map(
        (match) => match.line,
      );
    expect(await lines("^x\\d+$")).toEqual([1, 2]);
    expect(await lines("(?-i)^x\\d")).toEqual([1]);
    expect(await lines("^$")).toEqual([3]);
    expect(await lines("x1\\nX")).toEqual([]);
  });

  test.each(["(", "a(?=b)", "(a)\\1", "((a{1000}){1000}){1000}"])(
    "the pattern %j is refused with the reason",
    async (query) => {
      const { call } = await openToolbox();
      const result = await call("search_files", { query, regex: true });
      expect(result).toMatchObject({ isError: true, content: expect.stringContaining("RE2") });
    },
  );

  test("a pattern that makes a backtracking engine explode is answered", async () => {
    const { folder, read } = await openToolbox();
    await putInput(folder, "a.txt", `${"a".repeat(100_000)}!\n`.repeat(5));
    expect((await read<Search>("search_files", { query: "^(a+)+$", regex: true })).matches).toEqual(
      [],
    );
  });

  test("stops at 100 matches and says so; exactly 100 are not cut", async () => {
    const { folder, read } = await openToolbox();
    const exact = await putInput(folder, "exact.txt", "hit\n".repeat(100));
    const more = await putInput(folder, "more.txt", "hit\n".repeat(101));
    for (const regex of [false, true]) {
      const all = await read<Search>("search_files", { query: "hit", path: exact, regex });
      expect(all.matches).toHaveLength(100);
      expect(all.truncated).toBe(false);
      const cut = await read<Search>("search_files", { query: "hit", path: more, regex });
      expect(cut.matches).toHaveLength(100);
      expect(cut.truncated).toBe(true);
    }
  });

  test("in a very long line a match is found wherever it lies, once, with its surroundings", async () => {
    const { folder, read } = await openToolbox();
    for (const before of [0, 262_140, 262_144, 524_285, 700_000]) {
      const path = await putInput(
        folder,
        "one.json",
        `${"x".repeat(before)}needle${"y".repeat(300_000)}\nend\n`,
      );
      for (const regex of [false, true]) {
        const { matches } = await read<Search>("search_files", { query: "needle", path, regex });
        expect(matches).toHaveLength(1);
        expect(matches[0]).toMatchObject({
          path,
          line: 1,
          text: expect.stringContaining("needle"),
        });
        expect(matches[0]!.text.length).toBeLessThanOrEqual(302);
      }
    }
    const { matches } = await read<Search>("search_files", {
      query: "end",
      path: "input/one.json",
    });
    expect(matches).toEqual([{ path: "input/one.json", line: 2, text: "end" }]);
  });

  test("links and files with a name outside are not searched", async () => {
    const { base, root, read } = await openToolbox();
    await writeFile(join(base, "secret.txt"), "needle");
    await symlink(join(base, "secret.txt"), join(root, "link.txt"));
    await link(join(base, "secret.txt"), join(root, "hard.txt"));
    expect((await read<Search>("search_files", { query: "needle" })).matches).toEqual([]);
  });

  test("an abort ends the search", async () => {
    const { folder, call } = await openToolbox();
    await putInput(folder, "a.txt", "x\n");
    const signal = AbortSignal.abort();
    await expect(call("search_files", { query: "x" }, signal)).rejects.toMatchObject({
      name: "AbortError",
    });
  });
});
