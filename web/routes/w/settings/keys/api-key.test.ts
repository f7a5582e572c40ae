import { scopes } from "@guildhall/sdk/contract/workspace.ts";
import { taskStates, terminalTaskStates } from "@guildhall/sdk/contract/task.ts";
import { describe, expect, it } from "vitest";
import { allStates, hasEnded } from "../../../../tasks/task-state.tsx";
import { offeredScopes } from "./api-key.ts";

describe("what the page repeats of the contract", () => {
  it("offers every scope that there is", () => {
    expect([...offeredScopes].toSorted()).toEqual([...scopes].toSorted());
  });

  it("knows every state of a task, and which are its last", () => {
    expect([...allStates].toSorted()).toEqual([...taskStates].toSorted());
    expect(allStates.filter((state) => hasEnded(state)).toSorted()).toEqual(
      [...terminalTaskStates].toSorted(),
    );
  });
});
