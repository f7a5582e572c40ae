import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../fixture.ts";
import { createDataEngine, isStatementError, quoteName, quoteText } from "./engine.ts";

const never = new AbortController().signal;
/** Takes far longer than any test, so it ends only by an interrupt. */
const endless =
  "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range * b.range) % 7 = 3";

describe("the confined database", () => {
  test("reads and spills below its folder and touches nothing else", async () => {
    const base = await temporaryFolder();
    const directory = join(base, "private");
    await mkdir(directory);
    await mkdir(`${directory}-sibling`);
    await writeFile(join(directory, "data"), "a\n1\n");
    await writeFile(join(base, "secret.csv"), "a\nsecret\n");
    await writeFile(join(`${directory}-sibling`, "secret.csv"), "a\nsecret\n");
    const engine = createDataEngine();
    await engine.use({
      signal: never,
      directory,
      work: async ({ query }) => {
        expect(await query(`FROM read_csv(${quoteText(join(directory, "data"))})`)).toEqual([[1n]]);
        for (const statement of [
          `FROM read_csv(${quoteText(join(base, "secret.csv"))})`,
          `FROM read_csv(${quoteText(join(directory, "..", "secret.csv"))})`,
          `FROM read_csv(${quoteText(join(`${directory}-sibling`, "secret.csv"))})`,
          `FROM read_text(${quoteText(`${directory}/../secret.csv`)})`,
          `FROM glob(${quoteText(join(base, "*"))})`,
          `COPY (SELECT 1) TO ${quoteText(join(base, "written.csv"))}`,
          `ATTACH ${quoteText(join(base, "written.db"))}`,
          "INSTALL httpfs",
          "LOAD httpfs",
          "SET enable_external_access = true",
          "SET allowed_directories = ['/']",
          "SET memory_limit = '8GB'",
        ]) {
          await expect(query(statement)).rejects.toSatisfy(isStatementError);
        }
      },
    });
    expect((await readdir(base)).toSorted()).toEqual(["private", "private-sibling", "secret.csv"]);
  });

  test("without a folder there is no file access at all", async () => {
    const base = await temporaryFolder();
    await writeFile(join(base, "a.csv"), "a\n1\n");
    const statement = `FROM read_csv(${quoteText(join(base, "a.csv"))})`;
    const used = createDataEngine().use({ signal: never, work: ({ query }) => query(statement) });
    await expect(used).rejects.toThrow("disabled by configuration");
  });

  test("an abort interrupts a statement that runs, and throws the signal's reason", async () => {
    const controller = new AbortController();
    const reason = new Error("task cancelled");
    const used = createDataEngine().use({
      signal: controller.signal,
      work: ({ query }) => {
        const running = query(endless);
        setImmediate(() => controller.abort(reason));
        return running;
      },
    });
    await expect(used).rejects.toBe(reason);
  });

  test("who waits for a free database can be aborted, and the slot goes to the next", async () => {
    const engine = createDataEngine({ slots: 1 });
    const first = new AbortController();
    const second = new AbortController();
    const order: string[] = [];
    const running = engine.use({ signal: first.signal, work: ({ query }) => query(endless) });
    const waiting = engine.use({ signal: second.signal, work: async () => order.push("second") });
    const third = engine.use({ signal: never, work: async () => order.push("third") });
    second.abort();
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
    expect(order).toEqual([]);
    first.abort();
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
    await third;
    expect(order).toEqual(["third"]);
  });

  test("names and texts with quotes stay what they are", async () => {
    const text = `it's "quoted"; DROP TABLE x --`;
    const rows = await createDataEngine().use({
      signal: never,
      work: ({ query }) =>
        query(`SELECT ${quoteName(text)} FROM (SELECT ${quoteText(text)} AS ${quoteName(text)})`),
    });
    expect(rows).toEqual([[text]]);
  });
});
