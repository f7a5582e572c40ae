import { describe, expect, test } from "vitest";
import type { ReserveOutcome } from "../../ledger/calls.ts";
import { createBudgetQueue, type BudgetQueue } from "./budget-queue.ts";

const never = new AbortController().signal;

/** A budget in memory: what is not free is held, and comes back when it is given back. */
function createBudget(free: number, level: "workspace" | "task" = "workspace") {
  const state = { free, tries: 0 };
  const reserve = async (amount: number): Promise<ReserveOutcome> => {
    state.tries += 1;
    // Another turn of the loop, as a database has.
    await new Promise(setImmediate);
    if (amount > state.free)
      return {
        status: "reserved",
        level,
        scopeId: "x",
        period: "all",
        limit: 100,
        posted: 0,
        held: 100 - state.free,
        needed: amount,
      };
    state.free -= amount;
    return { status: "held", callNo: 1, amountNanoUsd: amount, maxTokens: 1 };
  };
  return { state, reserve };
}

type Budget = ReturnType<typeof createBudget>;

function ask(
  queue: BudgetQueue,
  input: {
    budget: Budget;
    amount: number;
    waitMs?: number;
    signal?: AbortSignal;
    workspaceId?: string;
  },
): Promise<ReserveOutcome> {
  return queue.admit({
    workspaceId: input.workspaceId ?? "ws_1",
    reserve: () => input.budget.reserve(input.amount),
    waitMs: input.waitMs ?? 20_000,
    gone: () => input.signal ?? never,
  });
}

function giveBack(queue: BudgetQueue, budget: Budget, amount: number): void {
  budget.state.free += amount;
  queue.returned("ws_1");
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
};

describe("waiting for money", () => {
  test("who came first goes first", async () => {
    const queue = createBudgetQueue();
    const budget = createBudget(0);
    const order: number[] = [];
    const all = [1, 2, 3, 4, 5].map((n) =>
      ask(queue, { budget, amount: 10 }).then(() => order.push(n)),
    );
    await turns(20);
    for (let n = 0; n < 5; n++) giveBack(queue, budget, 10);
    await Promise.all(all);
    expect(order).toEqual([1, 2, 3, 4, 5]);
  });

  test("small calls may pass a large one, but only so often: then its turn comes", async () => {
    const queue = createBudgetQueue();
    const budget = createBudget(20);
    let large = false;
    const first = ask(queue, { budget, amount: 100 }).then(() => (large = true));
    await turns(10);
    let passed = 0;
    const end = { reached: false };
    // Each small call gives its money back at once, so there would always be room for the next one.
    const small = async (): Promise<void> => {
      while (!end.reached) {
        await ask(queue, { budget, amount: 10 });
        if (large) return;
        passed += 1;
        giveBack(queue, budget, 10);
        await turns(2);
      }
    };
    const stream = Promise.all([small(), small()]);
    await turns(500);
    expect(large).toBe(false);
    expect(passed).toBeGreaterThan(0);
    expect(passed).toBeLessThanOrEqual(12);
    giveBack(queue, budget, 80);
    await first;
    end.reached = true;
    giveBack(queue, budget, 200);
    await stream;
  });

  test("those who wait for one task's budget do not hold up another task", async () => {
    const queue = createBudgetQueue();
    const blocked = createBudget(0, "task");
    const waiting = ask(queue, { budget: blocked, amount: 10 });
    const free = createBudget(1_000);
    for (let n = 0; n < 30; n++)
      expect(await ask(queue, { budget: free, amount: 1 })).toMatchObject({ status: "held" });
    giveBack(queue, blocked, 10);
    expect(await waiting).toMatchObject({ status: "held" });
  });

  test("after the waiting time the last refusal stands", async () => {
    const queue = createBudgetQueue();
    const outcome = await ask(queue, { budget: createBudget(0), amount: 10, waitMs: 20 });
    expect(outcome).toMatchObject({ status: "reserved", needed: 10 });
  });

  test("a caller who has gone leaves the line, and a hold that is just being made is not lost", async () => {
    const queue = createBudgetQueue();
    const budget = createBudget(0);
    const leaving = new AbortController();
    const gone = ask(queue, { budget, amount: 10, signal: leaving.signal });
    await turns(10);
    // The try is under way when the caller leaves: its outcome is what the caller gets.
    giveBack(queue, budget, 10);
    leaving.abort();
    expect(await gone).toMatchObject({ status: "held" });
    const late = new AbortController();
    const idle = ask(queue, { budget, amount: 10, signal: late.signal });
    await turns(20);
    late.abort();
    expect(await idle).toMatchObject({ status: "reserved" });
  });

  test("a call whose waiting time ran out while another was tried takes no hold any more", async () => {
    const queue = createBudgetQueue();
    const budget = createBudget(0);
    const first = ask(queue, { budget, amount: 100 });
    const leaving = new AbortController();
    const second = ask(queue, { budget, amount: 10, signal: leaving.signal });
    await turns(20);
    budget.state.free = 10;
    const before = budget.state.tries;
    queue.returned("ws_1");
    // The first is being tried, the second is next.
    expect(budget.state.tries).toBe(before + 1);
    leaving.abort();
    expect(await second).toMatchObject({ status: "reserved" });
    await turns(20);
    expect(budget.state.free).toBe(10);
    giveBack(queue, budget, 90);
    expect(await first).toMatchObject({ status: "held" });
  });

  test("many who wait do not all ask the database at each chance", async () => {
    const queue = createBudgetQueue();
    const budget = createBudget(0);
    const leaving = new AbortController();
    const all = Array.from({ length: 100 }, () =>
      ask(queue, { budget, amount: 10, signal: leaving.signal }),
    );
    await turns(500);
    const before = budget.state.tries;
    queue.returned("ws_1");
    await turns(50);
    expect(budget.state.tries - before).toBeLessThanOrEqual(8);
    leaving.abort();
    await Promise.all(all);
  });
});
