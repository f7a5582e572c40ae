import type { Command } from "./command-fixture.ts";
import { levelsOf } from "./kernel-levels.ts";
import * as kernel from "./kernel.ts";
import type { State } from "./kernel-state.ts";
import { decide, memoryWorld, REAP, stateOf } from "./operation-fixture.ts";
import { checkSums, createChecker, isOpen, must, trueRoom } from "./property-fixture.ts";
import { createStage } from "./stage-fixture.ts";

/** P6. With nothing open, a call is refused by a level that truly leaves too little, and by nothing else. */
function checkLiveness(quiet: State): void {
  for (const [runId, { workspaceId, epoch, state }] of quiet.runs) {
    if (state !== "claimed") continue;
    const { state: after, outcome } = kernel.reserve(quiet, {
      workspaceId,
      runId,
      epoch,
      holdId: "hold_last",
      // Not a new call, for the number of calls is limited, too.
      callNo: 1_000,
      attemptNo: 1,
      ownerId: "gw_0.1",
      priceVersion: "p1",
      inputNanoUsd: 10,
      outputNanoUsdPerToken: 3,
      maxTokens: 5,
      minTokens: 2,
      dispatch: true,
    });
    const unseen = { limitVersion: 0, limit: null, posted: 0, held: 0 };
    const levels = levelsOf(after, runId).map((key) => ({ ...key, ...unseen }));
    const room = Math.min(...levels.map((level) => trueRoom(quiet, { workspaceId, level })));
    const right = room >= 16 ? outcome.status === "held" : outcome.status === "exhausted";
    must(right, "P6 what is left can be used, and what is not is exhausted", () => [room, outcome]);
  }
}

/** P5, and all that a sequence must leave behind. */
export function checkQuiet(end: State): void {
  const later = { ...end, nowMs: end.nowMs + REAP.heldForMs + REAP.deadAfterMs };
  const { state } = decide(later, { type: "reap" });
  checkSums(state);
  const held = [...state.budgets.values()].filter((row) => row.held !== 0);
  must(held.length === 0, "P5 after quiet nothing is held", () => held);
  const open = [...state.holds.values()].filter(isOpen);
  must(open.length === 0, "P5 after quiet nothing is open", () => open);
  checkLiveness(state);
}

/** Plays the commands over the kernel alone, and checks each step. -> the state that they led to */
export function playOnKernel(commands: readonly Command[]): State {
  let state = stateOf(memoryWorld);
  let holds = 0;
  const stage = createStage(memoryWorld, () => `hold_${holds++}`);
  const checker = createChecker(state);
  for (const command of commands) {
    const operation = stage.perform(command, state);
    if (operation) {
      const decided = decide(state, operation);
      stage.answered(operation, decided.outcome);
      ({ state } = decided);
      checker.step(operation, state);
    }
    checker.truth(stage);
  }
  checkQuiet(state);
  return state;
}
