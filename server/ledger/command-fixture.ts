import fc from "fast-check";
import type { Meter, Run, TopLevel } from "./kernel-state.ts";

// What can happen around the ledger, as data: the same list is played over the kernel alone and over kernel and database.
// Numbers choose among what exists at that moment (`pick` counts attempts from the newest), so every list can be played.

export type Command =
  | {
      type: "admit";
      run: number;
      gateway: number;
      /** A further attempt of an earlier call, with a hold of its own. */
      retry: number | null;
      inputTokens: number;
      maxTokens: number;
      minTokens: number;
      dispatch: boolean;
      /** By the attempt before this one, which has lost its lease. */
      stale: boolean;
    }
  /** The gateway asks whether it may send. `foreign`: another one asks. */
  | { type: "dispatch"; pick: number; foreign: boolean }
  /** The first byte leaves, at once or after the gateway was frozen. */
  | { type: "send"; pick: number }
  /** The provider makes output; what its usage says of it reaches the gateway, or less, or nothing. */
  | { type: "chunk"; pick: number; tokens: number; told: number }
  /** A clean end: the gateway knows what the provider charges. `beyond`: more than the bound that it was held to. */
  | { type: "finish"; pick: number; tokens: number; beyond: number }
  /** The connection breaks. The provider may go on and charge for it. */
  | { type: "cut"; pick: number }
  /** Refused before the first byte, which the provider does not charge. */
  | { type: "refused"; pick: number }
  /** A settlement is repeated, for its answer was lost. */
  | { type: "repeat"; pick: number }
  /** Somebody ends it, whoever and whenever. */
  | { type: "end"; pick: number; outcome: "void" | "provisional" }
  /** A process dies; `known`: somebody sees it, and says so. */
  | { type: "crash"; gateway: number; known: boolean }
  | { type: "known_dead"; pick: number }
  | { type: "restart"; gateway: number }
  | { type: "seen"; gateway: number }
  /** The reaper takes silent processes for dead, whether they are or not. */
  | { type: "reclaim" }
  | { type: "reconcile"; pick: number; proof: "request" | "report"; backMs: number }
  | { type: "skew"; gateway: number; skewMs: number }
  | { type: "prices"; input: number; output: number; gateway: number }
  | {
      type: "limit";
      level: "task" | "agent" | "workspace";
      run: number;
      meter: Meter;
      amount: number | null;
    }
  | { type: "top_limit"; level: TopLevel; meter: Meter; amount: number | null }
  /** The period turns, or nearly. */
  | { type: "rollover"; unit: "day" | "month"; offsetMs: number }
  | { type: "tick"; ms: number }
  | { type: "run"; run: number; state: Run["state"] }
  | { type: "lease_time"; run: number; sliceMs: number; again: boolean }
  | { type: "return_time"; run: number; unusedMs: number; stale: boolean }
  /** A connection to the database breaks, maybe between a commit and its answer. */
  | { type: "broken_connection" };

type Of<Type extends Command["type"]> = Omit<Extract<Command, { type: Type }>, "type">;

function one<Type extends Command["type"]>(
  weight: number,
  type: Type,
  fields: { [Name in keyof Of<Type>]: fc.Arbitrary<Of<Type>[Name]> },
): { weight: number; arbitrary: fc.Arbitrary<Command> } {
  const arbitrary = fc.record({ type: fc.constant(type), ...fields });
  return { weight, arbitrary: arbitrary as unknown as fc.Arbitrary<Command> };
}

const run = fc.integer({ min: 0, max: 4 });
const gateway = fc.integer({ min: 0, max: 1 });
const pick = fc.nat(7);
const seldom = fc.nat(9).map((n) => n === 0);
const meter = fc.constantFrom<Meter>("model_cost", "model_cost", "agent_time");
const amount = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 2_500 }) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 40_000 }) },
  { weight: 1, arbitrary: fc.constant(null) },
);
const hour = 3_600_000;

export const command: fc.Arbitrary<Command> = fc.oneof(
  one(26, "admit", {
    run,
    gateway,
    retry: fc.option(pick, { freq: 4 }),
    inputTokens: fc.integer({ min: 1, max: 50 }),
    maxTokens: fc.integer({ min: 1, max: 60 }),
    minTokens: fc.integer({ min: 1, max: 20 }),
    dispatch: fc.boolean(),
    stale: seldom,
  }),
  one(6, "dispatch", { pick, foreign: seldom }),
  one(12, "send", { pick }),
  one(6, "chunk", { pick, tokens: fc.nat(40), told: fc.nat(50) }),
  one(12, "finish", {
    pick,
    tokens: fc.nat(60),
    beyond: fc.oneof(
      { weight: 9, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 300 }) },
    ),
  }),
  one(5, "cut", { pick }),
  one(2, "refused", { pick }),
  one(3, "repeat", { pick }),
  one(3, "end", { pick, outcome: fc.constantFrom("void", "provisional") }),
  one(2, "crash", { gateway, known: fc.boolean() }),
  one(2, "known_dead", { pick }),
  one(6, "restart", { gateway }),
  one(4, "seen", { gateway }),
  one(4, "reclaim", {}),
  one(6, "reconcile", {
    pick,
    proof: fc.constantFrom("request", "report", "report"),
    backMs: fc.constantFrom(-1_000, 0, 0, 1, 20_000, 70_000),
  }),
  one(2, "skew", { gateway, skewMs: fc.integer({ min: -hour, max: hour }) }),
  one(2, "prices", {
    input: fc.integer({ min: 1, max: 3 }),
    output: fc.integer({ min: 0, max: 7 }),
    gateway,
  }),
  one(4, "limit", { level: fc.constantFrom("task", "agent", "workspace"), run, meter, amount }),
  one(3, "top_limit", { level: fc.constantFrom<TopLevel>("owner", "platform"), meter, amount }),
  one(3, "rollover", {
    unit: fc.constantFrom("day", "month"),
    offsetMs: fc.constantFrom(-1_000, -1, 0, 1),
  }),
  one(4, "tick", { ms: fc.constantFrom(1, 1_000, 20_000, 40_000, 70_000) }),
  one(4, "run", {
    run,
    // Mostly a fresh claim, so that sequences do not run dry.
    state: fc.constantFrom<Run["state"]>(
      "claimed",
      "claimed",
      "claimed",
      "claimed",
      "queued",
      "parked",
    ),
  }),
  one(4, "lease_time", { run, sliceMs: fc.integer({ min: 1, max: 20_000 }), again: fc.boolean() }),
  one(3, "return_time", { run, unusedMs: fc.integer({ min: 0, max: 6_000 }), stale: seldom }),
  one(3, "broken_connection", {}),
);

/**
 * Commands that happen at once, round by round. Without limits of the top levels, where the ledger may tell one of two
 * workspaces once too often to wait.
 */
export const roundsAtOnce: fc.Arbitrary<Command[][]> = fc.array(
  fc.array(
    command.filter((one) => one.type !== "top_limit"),
    { minLength: 1, maxLength: 7, size: "max" },
  ),
  { minLength: 1, maxLength: 30, size: "max" },
);

/** Long enough for limits to fill, periods to turn and processes to come back. */
export const commands: fc.Arbitrary<Command[]> = fc.array(command, {
  minLength: 1,
  maxLength: 160,
  size: "max",
});
