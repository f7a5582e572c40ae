import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { AppError } from "./errors.ts";
import { createGroupCommit, type GroupItem } from "./group-commit.ts";

type Item = GroupItem<string>;

/** A database whose transactions end when the test says so. */
function stage(options: { maxItems?: number; maxTransactions?: number; maxWaitMs?: number } = {}) {
  const open: { items: readonly Item[]; end(error?: Error): Promise<void> }[] = [];
  const group = createGroupCommit<string, string>({
    maxItems: options.maxItems ?? 10,
    maxTransactions: options.maxTransactions ?? 2,
    maxWaitMs: options.maxWaitMs ?? 60_000,
    commit: (items) =>
      new Promise((resolve, reject) => {
        open.push({
          items,
          async end(error) {
            open.splice(open.indexOf(this), 1);
            if (error) reject(error);
            else resolve(items.map((item) => `${item.id} done`));
            await turn();
          },
        });
      }),
  });
  const ids = (): string[][] => open.map(({ items }) => items.map((item) => item.id));
  return { group, open, ids };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const item = (account: string, id: string): Item => ({ account, id, ask: id });

it("what arrives together goes together, and each gets its own answer", async () => {
  const { group, open, ids } = stage();
  const answers = Promise.all(["a", "b", "c"].map((id) => group.submit(item("ws_1", id))));
  await turn();
  expect(ids()).toEqual([["a", "b", "c"]]);
  await open[0]!.end();
  expect(await answers).toEqual(["a done", "b done", "c done"]);
});

it("an account is in one transaction at a time; others go beside it", async () => {
  const { group, open, ids } = stage();
  void group.submit(item("ws_1", "a"));
  await turn();
  void group.submit(item("ws_1", "b"));
  void group.submit(item("ws_2", "c"));
  await turn();
  expect(ids()).toEqual([["a"], ["c"]]);
  await open[0]!.end();
  expect(ids()).toEqual([["c"], ["b"]]);
});

it("a busy account does not keep another one waiting for more than one transaction", async () => {
  const { group, open, ids } = stage({ maxItems: 2, maxTransactions: 1 });
  for (const id of ["a", "b", "c", "d", "e"]) void group.submit(item("ws_1", id));
  await turn();
  void group.submit(item("ws_2", "x"));
  await turn();
  expect(ids()).toEqual([["a", "b"]]);
  await open[0]!.end();
  expect(ids()).toEqual([["c", "d"]]);
  await open[0]!.end();
  expect(ids()).toEqual([["x", "e"]]);
});

it("two items about one thing never go in one transaction, and keep their order", async () => {
  const { group, open, ids } = stage();
  for (const id of ["a", "a", "b", "a"]) void group.submit(item("ws_1", id));
  await turn();
  expect(ids()).toEqual([["a", "b"]]);
  await open[0]!.end();
  expect(ids()).toEqual([["a"]]);
  await open[0]!.end();
  expect(ids()).toEqual([["a"]]);
});

it("of a transaction that the database refuses only the guilty item fails", async () => {
  const { group, open, ids } = stage();
  const answers = Promise.allSettled(["a", "bad", "c"].map((id) => group.submit(item("ws_1", id))));
  await turn();
  await open[0]!.end(new Error("refused"));
  for (const id of ["a", "bad", "c"]) {
    expect(ids()).toEqual([[id]]);
    await open[0]!.end(id === "bad" ? new Error("refused") : undefined);
  }
  expect((await answers).map(({ status }) => status)).toEqual([
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
});

it("what a broken connection may have done is not done again, and the next ones go on", async () => {
  const { group, open, ids } = stage();
  const answers = Promise.allSettled(["a", "b"].map((id) => group.submit(item("ws_1", id))));
  await turn();
  const away = new AppError({
    code: "database_unavailable",
    status: 503,
    publicMessage: "away",
    retryable: true,
  });
  await open[0]!.end(away);
  expect((await answers).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(ids()).toEqual([]);
  void group.submit(item("ws_1", "c"));
  await turn();
  expect(ids()).toEqual([["c"]]);
});

it("behind a transaction that hangs nobody waits for ever, and what was sent with it is not refused", async () => {
  const { group, open, ids } = stage({ maxWaitMs: 300 });
  const sent = group.submit(item("ws_1", "a"));
  await turn();
  const late = Promise.allSettled(["b", "c"].map((id) => group.submit(item("ws_1", id))));
  for (const outcome of await late)
    expect(outcome).toMatchObject({
      status: "rejected",
      reason: { code: "database_unavailable", status: 503 },
    });
  await open[0]!.end();
  expect(await sent).toBe("a done");
  expect(ids()).toEqual([]);
  const next = group.submit(item("ws_1", "d"));
  await turn();
  await open[0]!.end();
  expect(await next).toBe("d done");
});

it("a process with nothing else to do ends, however long somebody may wait", async () => {
  const program = `
    import { createGroupCommit } from ${JSON.stringify(new URL("group-commit.ts", import.meta.url).href)};
    const options = { maxItems: 1, maxTransactions: 1, maxWaitMs: 3_600_000 };
    const group = createGroupCommit({ ...options, commit: async () => ["done"] });
    console.log(await group.submit({ account: "ws_1", id: "a", ask: "a" }));`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "--eval", program],
    // Or it would be left behind when this fails.
    { timeout: 29_000 },
  );
  expect(stdout).toBe("done\n");
});
