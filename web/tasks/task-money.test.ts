import { describe, expect, it } from "vitest";
import { reduceAll } from "../events/reducer.ts";
import { emptyTaskView } from "../events/task-view.ts";
import { streamOf } from "../test/events.ts";
import { makeTask } from "../test/tasks.ts";
import { taskMoney } from "./task-money.ts";
import { toolLine } from "./tool-line.ts";

const started = {
  type: "model.started" as const,
  data: { step: 1, model: "m", held_nano_usd: 80_000_000, max_tokens: 9 },
};
const usage = { input_tokens: 1, cache_read_tokens: 0, cache_write_tokens: 0, output_tokens: 1 };
const completed = {
  type: "model.completed" as const,
  data: {
    step: 1,
    model: "m",
    stop_reason: "end_turn",
    text: "",
    usage,
    cost_nano_usd: 3_000_000,
    duration_ms: 1,
    replayed: false,
  },
};
const view = (...bodies: Parameters<typeof streamOf>[0][number][]) =>
  reduceAll(emptyTaskView("task_1"), streamOf(bodies));
const withUsage = (spent: number, held: number, lastSeq: number) => {
  const task = makeTask({ state: "running", last_seq: lastSeq });
  return { ...task, usage: { ...task.usage, spent_nano_usd: spent, held_nano_usd: held } };
};

describe("taskMoney", () => {
  it("shows a reservation the moment that its call begins, and its end the moment that it ends", () => {
    expect(taskMoney(withUsage(0, 0, 0), view(started))).toMatchObject({
      heldNanoUsd: 80_000_000,
      leftNanoUsd: 420_000_000,
    });
    expect(taskMoney(withUsage(0, 80_000_000, 1), view(started, completed))).toEqual({
      spentNanoUsd: 3_000_000,
      heldNanoUsd: 0,
      leftNanoUsd: 497_000_000,
      limitNanoUsd: 500_000_000,
    });
  });

  it("counts delegated work, which only the row knows", () => {
    expect(taskMoney(withUsage(9_000_000, 0, 2), view(started, completed)).spentNanoUsd).toBe(
      9_000_000,
    );
  });

  it("holds nothing for a task that has ended, however late its row is", () => {
    const cancelled = { type: "task.cancelled" as const, data: {} };
    expect(taskMoney(withUsage(0, 80_000_000, 1), view(started, cancelled)).heldNanoUsd).toBe(0);
  });

  it("never shows less than nothing left", () => {
    expect(taskMoney(withUsage(600_000_000, 0, 9)).leftNanoUsd).toBe(0);
  });
});

describe("toolLine", () => {
  it.each([
    ["read_file", { path: "input/a.csv" }, "Read input/a.csv"],
    ["list_files", { path: "." }, "List files"],
    ["search_files", { query: "two\nlines" }, "Search two lines"],
    ["constructor", { path: "x" }, "constructor x"],
    ["of_a_newer_server", {}, "of_a_newer_server"],
    ["read_file", { path: 7 }, "Read"],
  ])("says what %s does", (name, input, line) => {
    expect(toolLine(name, input)).toBe(line);
  });
});
