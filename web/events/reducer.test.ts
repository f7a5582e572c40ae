import { eventSchema } from "@guildhall/sdk/contract/event.ts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyStream, streamOf } from "../test/events.ts";
import { reduce, reduceAll } from "./reducer.ts";
import { emptyTaskView } from "./task-view.ts";

const empty = emptyTaskView("task_1");
const usage = { input_tokens: 10, cache_read_tokens: 2, cache_write_tokens: 1, output_tokens: 5 };
const completed = (step: number, more: { replayed?: boolean; costNanoUsd?: number } = {}) => ({
  type: "model.completed" as const,
  data: {
    step,
    model: "m",
    stop_reason: "end_turn",
    text: "the whole text",
    usage,
    cost_nano_usd: more.costNanoUsd ?? 100,
    duration_ms: 5,
    replayed: more.replayed ?? false,
  },
});
const started = (step: number) => ({
  type: "model.started" as const,
  data: { step, model: "m", held_nano_usd: 900, max_tokens: 64 },
});
const text = (step: number, words: string) => ({
  type: "model.text" as const,
  data: { step, text: words },
});
const claimed = (attempt: number) => ({
  type: "run.claimed" as const,
  data: { run_id: "run_1", attempt, worker_id: `wrk_${attempt}` },
});

describe("reduce", () => {
  it("changes nothing when an event comes a second time", () => {
    fc.assert(
      fc.property(anyStream, fc.nat(), (events, pick) => {
        const view = reduceAll(empty, events);
        const again = events[pick % events.length];
        expect(again && reduce(view, again)).toEqual({ status: "duplicate", view });
      }),
    );
  });

  it("reports exactly the numbers that are missing and keeps the view", () => {
    const [, , third] = streamOf([claimed(1), started(1), text(1, "x")]);
    expect(third && reduce(empty, third)).toEqual({
      status: "gap",
      view: empty,
      missingFrom: 1,
      missingTo: 2,
    });
  });

  it("never changes the view that it was given", () => {
    fc.assert(
      fc.property(anyStream, (events) => {
        let view = empty;
        for (const event of events) {
          const before = structuredClone(view);
          const next = reduce(view, event).view;
          expect(view).toEqual(before);
          view = next;
        }
      }),
    );
  });

  it("is tested with events that the contract allows", () => {
    fc.assert(
      fc.property(anyStream, (events) => {
        for (const event of events) expect(eventSchema.parse(event)).toEqual(event);
      }),
    );
  });

  it("gives every entry a key of its own", () => {
    fc.assert(
      fc.property(anyStream, (events) => {
        const keys = reduceAll(empty, events).entries.map((entry) => entry.key);
        expect(new Set(keys).size).toBe(keys.length);
      }),
    );
  });

  it("streams text into the running step and takes the whole text at its end", () => {
    const running = reduceAll(empty, streamOf([started(1), text(1, "the "), text(1, "wh")]));
    expect(running.entries).toMatchObject([{ kind: "model", text: "the wh", status: "running" }]);
    expect(running).toMatchObject({ heldNanoUsd: 900, spentNanoUsd: 0 });
    const done = reduceAll(empty, streamOf([started(1), text(1, "the "), completed(1)]));
    expect(done.entries).toMatchObject([{ text: "the whole text", status: "done" }]);
    expect(done).toMatchObject({ heldNanoUsd: 0, spentNanoUsd: 100, modelCalls: 1, usage });
  });

  it("restarts the text of a step that another worker repeats, and keeps it one entry", () => {
    const view = reduceAll(
      empty,
      streamOf([claimed(1), started(1), text(1, "lost"), claimed(2), started(1), text(1, "new")]),
    );
    const steps = view.entries.filter((entry) => entry.kind === "model");
    expect(steps).toHaveLength(1);
    expect(steps[0]).toMatchObject({ text: "new", tries: 2, status: "running" });
  });

  it("does not count the tokens of a replayed answer twice", () => {
    const view = reduceAll(
      empty,
      streamOf([completed(1), completed(2, { replayed: true, costNanoUsd: 0 })]),
    );
    expect(view).toMatchObject({ usage, spentNanoUsd: 100 });
  });

  it("leaves nothing running and nothing held once the task has ended", () => {
    const view = reduceAll(
      empty,
      streamOf([
        claimed(1),
        started(1),
        { type: "tool.started", data: { step: 2, tool_use_id: "t", name: "read_file", input: {} } },
        { type: "task.cancelled", data: { by: "user:usr_1" } },
      ]),
    );
    expect(view).toMatchObject({ state: "cancelled", heldNanoUsd: 0 });
    const steps = view.entries.filter((entry) => entry.kind !== "note");
    expect(steps.map((entry) => entry.status)).toEqual(["interrupted", "interrupted"]);
  });

  const asking = {
    type: "tool.started" as const,
    data: { step: 2, tool_use_id: "t", name: "ask_human", input: {} },
  };
  const statuses = (...bodies: Parameters<typeof streamOf>[0][number][]) =>
    reduceAll(empty, streamOf(bodies)).entries.flatMap((entry) =>
      entry.kind === "note" ? [] : [entry.status],
    );

  it("shows what a vanished worker left open as interrupted, not as still running", () => {
    expect(statuses(claimed(1), asking, claimed(2))).toEqual(["interrupted"]);
  });

  it("keeps a parked step waiting until it goes on as the same step, or the task ends", () => {
    const waiting = {
      type: "task.waiting" as const,
      data: { kind: "question" as const, question_id: "q", question: "?" },
    };
    expect(statuses(claimed(1), asking, waiting)).toEqual(["parked"]);
    expect(statuses(claimed(1), asking, waiting, claimed(2), asking)).toEqual(["running"]);
    const cancelled = { type: "task.cancelled" as const, data: {} };
    expect(statuses(claimed(1), asking, waiting, cancelled)).toEqual(["interrupted"]);
  });

  it("tells where each attempt went on and how the one before it stopped", () => {
    const view = reduceAll(
      empty,
      streamOf([
        claimed(1),
        { type: "run.lease_lost", data: { run_id: "run_1", attempt: 1, worker_id: "wrk_1" } },
        claimed(2),
        { type: "run.resumed", data: { run_id: "run_1", attempt: 2, from_step: 3 } },
      ]),
    );
    expect(view.attempts).toMatchObject([
      { attempt: 1, stopped: { how: "lease_lost" } },
      { attempt: 2, fromStep: 3, workerId: "wrk_2" },
    ]);
  });

  it("keeps a file that is written again at its place in the list", () => {
    const written = (path: string, size: number) => ({
      type: "artifact.written" as const,
      data: { id: `art_${size}`, path, size_bytes: size, sha256: "0", created_at: "" },
    });
    const view = reduceAll(
      empty,
      streamOf([written("a.md", 1), written("b.md", 2), written("a.md", 3)]),
    );
    expect(view.artifacts.map((file) => [file.path, file.size_bytes])).toEqual([
      ["a.md", 3],
      ["b.md", 2],
    ]);
  });
});
