import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { openTestFolder, openToolbox, putInput } from "../fixture.ts";
import { maxResultBytes } from "../result-text.ts";
import { createDataEngine } from "./engine.ts";
import { createProfiler, type DataProfile } from "./profile.ts";

/** Profiles one uploaded file by the tool. */
async function profileOf(name: string, content: string | Uint8Array): Promise<DataProfile> {
  const { folder, read } = await openToolbox();
  return read<DataProfile>("profile_data", { path: await putInput(folder, name, content) });
}

async function refusalOf(name: string, content: string | Uint8Array): Promise<string> {
  const { folder, call, scratchFolder } = await openToolbox();
  const result = await call("profile_data", { path: await putInput(folder, name, content) });
  expect(result.isError).toBe(true);
  // Neither the machine's paths nor the private copy are shown, and the copy is gone.
  expect(result.content).not.toContain(scratchFolder);
  expect(await readdir(scratchFolder).catch(() => [])).toEqual([]);
  return result.content;
}

async function writeParquet(select: string) {
  const { root, folder, read } = await openToolbox();
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  await connection.run(`COPY (${select}) TO '${join(root, "data.parquet")}' (FORMAT parquet)`);
  connection.closeSync();
  instance.closeSync();
  return { folder, read, path: "data.parquet" };
}

const orders = `id,city,amount,ordered_on,paid
1,Berlin,10.5,2024-01-01,true
2,Hamburg,20.25,2024-01-02,false
3,Berlin,,2024-01-03,true
4,Köln,5,2024-01-04,true
4,Köln,5,2024-01-04,true
`;

describe("the profile of a table", () => {
  test("has the documented fields and the true figures", async () => {
    expect(await profileOf("orders.csv", orders)).toEqual({
      path: "input/orders.csv",
      format: "csv",
      row_count: 5,
      column_count: 5,
      columns: [
        {
          name: "id",
          type: "BIGINT",
          null_count: 0,
          distinct_count: 4,
          min: 1,
          max: 4,
          mean: 2.8,
          top: [
            { value: 4, count: 2 },
            { value: 1, count: 1 },
            { value: 2, count: 1 },
            { value: 3, count: 1 },
          ],
        },
        {
          name: "city",
          type: "VARCHAR",
          null_count: 0,
          distinct_count: 3,
          min: "Berlin",
          max: "Köln",
          mean: null,
          top: [
            { value: "Berlin", count: 2 },
            { value: "Köln", count: 2 },
            { value: "Hamburg", count: 1 },
          ],
        },
        {
          name: "amount",
          type: "DOUBLE",
          null_count: 1,
          distinct_count: 3,
          min: 5,
          max: 20.25,
          mean: 10.1875,
          top: [
            { value: 5, count: 2 },
            { value: 10.5, count: 1 },
            { value: 20.25, count: 1 },
          ],
        },
        {
          name: "ordered_on",
          type: "DATE",
          null_count: 0,
          distinct_count: 4,
          min: "2024-01-01",
          max: "2024-01-04",
          mean: null,
          top: [
            { value: "2024-01-04", count: 2 },
            { value: "2024-01-01", count: 1 },
            { value: "2024-01-02", count: 1 },
            { value: "2024-01-03", count: 1 },
          ],
        },
        {
          name: "paid",
          type: "BOOLEAN",
          null_count: 0,
          distinct_count: 2,
          min: false,
          max: true,
          mean: null,
          top: [
            { value: true, count: 4 },
            { value: false, count: 1 },
          ],
        },
      ],
      duplicate_row_count: 1,
      issues: [
        "1 duplicate row (equal to an earlier row in every column)",
        'column "amount": 1 of 5 values missing (20 %)',
      ],
    });
  });

  test("changing one cell changes the figures of its column", async () => {
    const before = await profileOf("a.csv", orders);
    const after = await profileOf("a.csv", orders.replace("20.25", "1000"));
    expect(after.columns[2]).toMatchObject({ max: 1000, mean: 255.125 });
    expect(after.columns.toSpliced(2, 1)).toEqual(before.columns.toSpliced(2, 1));
  });

  test("figures equal those computed by hand, for any table of whole numbers", async () => {
    const { folder, read } = await openToolbox();
    const cell = fc.option(fc.integer({ min: -50, max: 50 }), { freq: 4, nil: null });
    const table = fc.array(fc.tuple(cell, fc.integer({ min: -3, max: 3 })), {
      minLength: 1,
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(table, async (rows) => {
        const text = ["first,second", ...rows.map(([a, b]) => `${a ?? ""},${b}`)].join("\n");
        const path = await putInput(folder, "t.csv", text);
        const profile = await read<DataProfile>("profile_data", { path });
        const values = rows.map(([value]) => value).filter((value) => value !== null);
        expect(profile.row_count).toBe(rows.length);
        expect(profile.duplicate_row_count).toBe(rows.length - new Set(rows.map(String)).size);
        expect(profile.columns[0]).toMatchObject({
          null_count: rows.length - values.length,
          distinct_count: new Set(values).size,
        });
        if (values.length === 0) return;
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        expect(profile.columns[0]).toMatchObject({
          min: Math.min(...values),
          max: Math.max(...values),
        });
        expect(profile.columns[0]!.mean).toBeCloseTo(mean, 9);
      }),
      { numRuns: 25 },
    );
  });

  test.each([
    ["a.tsv", "a\tb\n1\tx,y\n"],
    ["a.csv", "a;b\n1;x,y\n"],
    ["a.csv", "a|b\n1|x,y\n"],
    ["a.csv", 'a,b\n1,"x,y"\n'],
    ["A.CSV", '\ufeffa,b\r\n1,"x,y"\r\n'],
    ["a.csv", Buffer.from('\ufeffa,b\n1,"x,y"\n', "utf16le")],
    ["a.json", '[{"a":1,"b":"x,y"}]'],
    ["a.json", '\ufeff{"a":1,"b":"x,y"}'],
    ["a.ndjson", '{"a":1,"b":"x,y"}\n'],
    ["a.jsonl", '{"a":1,"b":"x,y"}'],
  ])("%s with %j is read as one row of a number and a text", async (name, content) => {
    const profile = await profileOf(name, content);
    expect(profile).toMatchObject({
      row_count: 1,
      columns: [
        { name: "a", type: "BIGINT", max: 1 },
        { name: "b", type: "VARCHAR", max: "x,y" },
      ],
    });
  });

  test("Parquet is read with its own types, and numbers beyond JSON stay exact as text", async () => {
    const { read, path } = await writeParquet(
      "SELECT * FROM (VALUES (9007199254740993::BIGINT, 1.10::DECIMAL(10,2), 12345678901234567.89::DECIMAL(20,2), [1,2], 'NaN'::DOUBLE)) t(big, price, wide, list, odd)",
    );
    const profile = await read<DataProfile>("profile_data", { path });
    expect(profile).toMatchObject({ format: "parquet", row_count: 1, column_count: 5 });
    expect(profile.columns).toMatchObject([
      {
        name: "big",
        type: "BIGINT",
        min: "9007199254740993",
        top: [{ value: "9007199254740993", count: 1 }],
      },
      { name: "price", type: "DECIMAL(10,2)", min: 1.1 },
      { name: "wide", type: "DECIMAL(20,2)", max: "12345678901234567.89" },
      { name: "list", min: null, mean: null, top: [{ value: "[1, 2]", count: 1 }] },
      { name: "odd", type: "DOUBLE", max: "nan", mean: null },
    ]);
  });

  test("every kind of value that Parquet can hold is profiled", async () => {
    const { read, path } =
      await writeParquet(`SELECT 1::UTINYINT u, 1::HUGEINT h, 1.5::FLOAT f, 'x'::BLOB b,
      TIME '10:00:00' t, TIMESTAMP '2024-01-01 10:00:00' ts, TIMESTAMPTZ '2024-01-01 10:00:00+00' tz, uuid() id,
      {'k': 1} s, MAP {'k': 1} m, 'a'::ENUM('a', 'b') e, NULL::INTEGER n, INTERVAL 1 DAY i, 'it''s' AS "a ""b"" c"
      FROM range(3)`);
    const profile = await read<DataProfile>("profile_data", { path });
    expect(profile.column_count).toBe(14);
    expect(profile.columns.map((column) => column.distinct_count)).toEqual([
      1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 0, 1, 1,
    ]);
    expect(profile.columns.at(-1)).toMatchObject({ name: 'a "b" c', min: "it's" });
    expect(profile.issues).toContain('column "n" is empty in every row');
  });

  test("codes with leading zeros stay text", async () => {
    const profile = await profileOf("a.csv", "zip,n\n01067,1\n99999,2\n");
    expect(profile.columns[0]).toMatchObject({ type: "VARCHAR", min: "01067" });
  });

  test("a table with a header only has columns and no rows", async () => {
    const profile = await profileOf("a.csv", "a,b\n");
    expect(profile).toMatchObject({
      row_count: 0,
      column_count: 2,
      issues: ["the file has no rows"],
    });
  });

  test("a very wide table is cut to valid JSON and says so", async () => {
    const names = Array.from({ length: 300 }, (_, n) => `${"long name ".repeat(10)}${n}`);
    const rows = Array.from({ length: 6 }, (_, row) =>
      names.map((_name, n) => `${"v".repeat(90)}${row}${n}`).join(","),
    );
    const { folder, call } = await openToolbox();
    const path = await putInput(folder, "wide.csv", [names.join(","), ...rows].join("\n"));
    const { content } = await call("profile_data", { path });
    expect(Buffer.byteLength(content)).toBeLessThanOrEqual(maxResultBytes);
    const profile: DataProfile = JSON.parse(content);
    expect(profile.column_count).toBe(300);
    expect(profile.issues[0]).toBe(
      `only the first ${profile.columns.length} of 300 columns are shown`,
    );
  });
});

describe("the issues of a table", () => {
  const tenRows = (cells: readonly (string | number)[], name = "x") =>
    [`n,${name}`, ...cells.map((cell, index) => `${index},${cell}`)].join("\n");

  test.each([
    ["missing values", tenRows(["", 1, 2, 3]), 'column "x": 1 of 4 values missing (25 %)'],
    ["an empty column", tenRows(["", "", ""]), 'column "x" is empty in every row'],
    ["a constant column", tenRows(["EU", "EU"]), 'column "x" is constant: every row has "EU"'],
    [
      "a number among texts",
      tenRows([1, 2, "three"]),
      'column "x" mixes types: 2 of 3 values are numbers, the others are not, for example "three"',
    ],
    [
      "a date among texts",
      tenRows(["2024-01-01", "2024-01-02", "soon"]),
      'column "x" mixes types: 2 of 3 values are dates (YYYY-MM-DD), the others are not, for example "soon"',
    ],
    [
      "placeholders",
      tenRows(["N/A", "a", "b"]),
      'column "x": 1 placeholder instead of a value, such as "N/A" or "unknown"',
    ],
    [
      "stray spaces",
      tenRows(['" a"', "b", "c"]),
      'column "x": 1 value with spaces around the text',
    ],
    [
      "spelling variants",
      tenRows(["Berlin", "berlin", "Bonn"]),
      'column "x": 1 spelling variant (same text but for case or spaces around it)',
    ],
    [
      "a negative count",
      tenRows([1, -2, 3], "item_count"),
      'column "item_count": 1 negative value, which its name rules out',
    ],
    [
      "a negative count in camel case",
      tenRows([1, -2, 3], "itemCount"),
      'column "itemCount": 1 negative value, which its name rules out',
    ],
    ["an outlier", tenRows([1, 2, 3, 4, 5, 6, 7, 8, 9, 5000]), "the farthest is 5000"],
    [
      "a repeated key",
      tenRows([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11], "order_id"),
      'column "order_id" looks like a key, but is not unique: 1 value repeated',
    ],
    [
      "a row that is too short",
      "a,b,c\n1,2,3\n4,5\n6,7,8\n",
      "1 row with fewer fields than the header (line 3), left out of the figures",
    ],
    [
      "a row that is too long",
      "a,b,c\n1,2,3\n4,5,6,7\n6,7,8\n",
      "1 row with more fields than the header (line 3), left out of the figures",
    ],
    [
      "a missing header",
      "1,2\n3,4\n",
      "the file seems to have no header row; columns are named by their position",
    ],
  ])("name %s", async (_what, text, issue) => {
    const { issues } = await profileOf("a.csv", text);
    expect(issues).toEqual(expect.arrayContaining([expect.stringContaining(issue)]));
  });

  test("a clean table has none", async () => {
    const rows = Array.from(
      { length: 50 },
      (_, n) => `${n},${["a", "b", "c"][n % 3]},${-n},2024-01-${10 + (n % 20)}`,
    );
    expect((await profileOf("a.csv", ["id,kind,balance,day", ...rows].join("\n"))).issues).toEqual(
      [],
    );
  });

  test("a byte that is not UTF-8 is noticed wherever it lies", async () => {
    const late = Buffer.concat([
      Buffer.from(`a,b\n${"1,x\n".repeat(50_000)}`),
      Buffer.from("2,M\xfc\n", "latin1"),
    ]);
    const profile = await profileOf("a.csv", late);
    expect(profile.row_count).toBe(50_001);
    expect(profile.issues).toContain("the file is not UTF-8; it was read as Latin-1");
    expect(profile.columns[1]).toMatchObject({ min: "Mü" });
  });

  test("a type that changes after many rows is still seen", async () => {
    const profile = await profileOf("a.csv", `a,b\n${"1,2\n".repeat(50_000)}1,oops\n`);
    expect(profile.columns[1]).toMatchObject({ type: "VARCHAR", max: "oops" });
    expect(profile.row_count).toBe(50_001);
  });

  test("types that differ between JSON records are named", async () => {
    const profile = await profileOf("a.json", '[{"a":1},{"a":"x"},{"a":2.5}]');
    expect(profile.issues).toContain('column "a" mixes types: 2 number, 1 text');
  });
});

describe("a JSON file of many records", () => {
  function* records(count: number, last: string) {
    yield "[";
    for (let from = 0; from < count; from += 10_000) {
      let block = "";
      for (let n = from; n < Math.min(count, from + 10_000); n += 1) {
        block += `{"id":${n},"tags":["a","b"]},\n`;
      }
      yield block;
    }
    yield `${last}]`;
  }

  test("is read whole when an array of 600,000 records exceeds the memory for looking at all", async () => {
    const { folder, read } = await openToolbox();
    const path = await putInput(folder, "a.json", records(600_000, '{"id":-1,"tags":[]}'));
    const profile = await read<DataProfile>("profile_data", { path });
    expect(profile).toMatchObject({ row_count: 600_001, duplicate_row_count: 0 });
    expect(profile.columns[0]).toMatchObject({ type: "BIGINT", min: -1, max: 599_999 });
    expect(profile.issues).toEqual([expect.stringContaining("first 200000 records")]);
  });

  test("keeps a value of another type that comes after all that was looked at", async () => {
    const { folder, read } = await openToolbox();
    const path = await putInput(folder, "a.json", records(200_010, '{"id":"late","tags":7}'));
    const profile = await read<DataProfile>("profile_data", { path });
    expect(profile).toMatchObject({
      row_count: 200_011,
      columns: [{ type: "JSON" }, { type: "JSON" }],
    });
    expect(profile.issues).toContain('column "id" mixes types: 200010 number, 1 text');
  });
});

describe("a file that cannot be profiled", () => {
  test.each([
    ["a.csv", "", "it is empty (0 bytes)"],
    ["a.csv", "\n\n  \n", "only blank lines"],
    ["a.csv", 'a,b\n1,"open\n2,3\n', "quotation mark"],
    ["a.csv", Buffer.from([0, 1, 2, 3]), "binary"],
    ["a.csv", "PAR1 rest", "Parquet file named"],
    ["a.json", '{"a":', '"input/a.json", at byte'],
    ["a.json", Buffer.from([0x7b, 0, 0]), "binary"],
    ["a.parquet", "a,b\n1,2\n", "named like a Parquet file but is none"],
    ["a.parquet", `PAR1${"x".repeat(100)}PAR1`, "cannot be profiled"],
    ["a.md", "# Title", "reads CSV, TSV, JSON, NDJSON and Parquet"],
    ["noextension", "a,b\n1,2\n", "reads CSV, TSV, JSON, NDJSON and Parquet"],
  ])("%s with %j is refused with the reason", async (name, content, reason) => {
    expect(await refusalOf(name, content)).toContain(reason);
  });

  test("a profile that takes too long ends at its deadline", async () => {
    const { base, folder } = await openTestFolder();
    const path = await putInput(folder, "a.csv", `a,b\n${"1,x\n".repeat(200_000)}`);
    const scratchFolder = join(base, "scratch");
    const profile = createProfiler({ engine: createDataEngine(), scratchFolder, deadlineMs: 1 });
    const profiled = profile({ folder, path, signal: new AbortController().signal });
    await expect(profiled).rejects.toMatchObject({ code: "data_too_slow" });
    expect(await readdir(scratchFolder).catch(() => [])).toEqual([]);
  });
});

describe("a CSV file of 50 MB", () => {
  test(
    "is read in part, searched and profiled exactly in little memory, and the profile can be aborted",
    { timeout: 120_000 },
    async () => {
      const { base, folder, read } = await openToolbox();
      const rows = 1_100_000;
      function* lines() {
        yield "id,region,amount,note\n";
        for (let from = 0; from < rows; from += 10_000) {
          let block = "";
          for (let n = from; n < from + 10_000; n += 1)
            block += `${n},region-${n % 7},${(n % 1000) / 4},some text number ${n}\n`;
          yield block;
        }
      }
      const path = await putInput(folder, "big.csv", lines());
      expect((await folder.stat(path)).sizeBytes).toBeGreaterThan(50_000_000);

      const end = await read<{ content: string; total_lines: number }>("read_file", {
        path,
        offset: rows,
        limit: 1,
      });
      expect(end).toMatchObject({
        total_lines: rows + 1,
        content: expect.stringMatching(/^1099998,/),
      });
      for (const regex of [false, true]) {
        const found = await read("search_files", { query: "number 1099999", path, regex });
        expect(found).toMatchObject({ matches: [{ line: rows + 1 }], truncated: false });
      }

      const scratchFolder = join(base, "scratch");
      // The reader's own buffers take 64 MB of it: what remains is less than the table, so it must spill.
      const profile = createProfiler({
        engine: createDataEngine({ memoryLimitMb: 100 }),
        scratchFolder,
      });
      const result = await profile({ folder, path, signal: new AbortController().signal });
      expect(result).toMatchObject({
        row_count: rows,
        duplicate_row_count: 0,
        columns: [
          { name: "id", distinct_count: rows, min: 0, max: rows - 1, mean: (rows - 1) / 2 },
          { name: "region", distinct_count: 7 },
          { name: "amount", distinct_count: 1000, max: 249.75, mean: 124.875 },
          { name: "note", distinct_count: rows },
        ],
      });
      const controller = new AbortController();
      const aborted = profile({ folder, path, signal: controller.signal });
      await vi.waitFor(async () => expect(await readdir(scratchFolder)).toHaveLength(1));
      controller.abort();
      await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
      expect(await readdir(scratchFolder)).toEqual([]);
    },
  );
});
