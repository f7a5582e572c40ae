import { describe, expect, it } from "vitest";
import { reduceAll } from "../events/reducer.ts";
import { emptyTaskView, type TaskView } from "../events/task-view.ts";
import { streamOf } from "../test/events.ts";
import { makeStop, makeTask } from "../test/tasks.ts";
import { agentStatus } from "./agent-status.ts";
import { officeSummary, shortName, statusBubble, statusDetail } from "./describe-status.ts";

const nowMs = Date.parse("2026-11-23T15:00:00.000Z");
const ago = (ms: number) => new Date(nowMs - ms).toISOString();
const running = makeTask({ state: "running", started_at: ago(60_000) });
const claimed = {
  type: "run.claimed" as const,
  data: { run_id: "run_1", attempt: 1, worker_id: "wrk_1" },
};
const thinking = {
  type: "model.started" as const,
  data: { step: 1, model: "m", held_nano_usd: 1, max_tokens: 9 },
};
const reading = {
  type: "tool.started" as const,
  data: { step: 2, tool_use_id: "t", name: "read_file", input: { path: "input/a.csv" } },
};
const limit = makeStop({ level: "task", scope_id: "task_1", limit: 500_000_000 });

const viewOf = (...bodies: Parameters<typeof streamOf>[0][number][]) =>
  reduceAll(emptyTaskView("task_1"), streamOf(bodies));

function status(tasks: ReturnType<typeof makeTask>[], view?: TaskView) {
  const views = new Map(view ? [[view.taskId, view]] : []);
  return agentStatus({ agentId: "gray", tasks, views, nowMs });
}

describe("agentStatus", () => {
  it("sees a running tool, with what it works on", () => {
    const now = status([running], viewOf(claimed, thinking, reading));
    expect(now.kind).toBe("tool");
    expect(statusBubble(now, nowMs)).toBe("Read input/a.csv");
  });

  it("is thinking while a model call runs, and while nothing is known of a running task", () => {
    expect(status([running], viewOf(claimed, thinking)).kind).toBe("thinking");
    expect(status([running]).kind).toBe("thinking");
  });

  it("counts the place in the queue over all agents", () => {
    const other = makeTask({ id: "task_0", agent_id: "sable", created_at: ago(9_000) });
    const own = makeTask({ id: "task_1", created_at: ago(1_000) });
    expect(statusBubble(status([own, other]), nowMs)).toBe("Place 2 in line");
  });

  it("takes a task that is to start later for no work, and for nobody's place in line, until its time has come", () => {
    const later = makeTask({ id: "task_0", created_at: ago(9_000), start_after: ago(-60_000) });
    const own = makeTask({ id: "task_1", created_at: ago(1_000) });
    expect(status([later]).kind).toBe("idle");
    expect(statusBubble(status([later, own]), nowMs)).toBe("Place 1 in line");
    expect(status([{ ...later, start_after: ago(1) }]).kind).toBe("queued");
  });

  it("names a question, a limit and a retry", () => {
    const asked = makeTask({
      state: "waiting",
      parked: { kind: "question", question_id: "q", question: "Which year?" },
    });
    expect(statusBubble(status([asked]), nowMs)).toBe("Which year?");
    const paused = makeTask({ state: "paused", parked: limit });
    expect(statusBubble(status([paused]), nowMs)).toBe("Task budget $0.50");
    const failed = {
      type: "model.failed" as const,
      data: { step: 1, code: "overloaded", message: "Too busy.", retry_in_ms: 8_000 },
    };
    const retrying = status([running], viewOf(claimed, thinking, failed));
    expect(statusBubble(retrying, nowMs)).toBe("Tries again in 8.0 s");
    expect(statusDetail(retrying, nowMs)).toBe("Too busy.");
  });

  it("shows a lost worker until another one takes over", () => {
    const lost = {
      type: "run.lease_lost" as const,
      data: { run_id: "run_1", attempt: 1, worker_id: "wrk_1" },
    };
    expect(status([makeTask()], viewOf(claimed, lost)).kind).toBe("offline");
    const again = { ...claimed, data: { ...claimed.data, attempt: 2 } };
    expect(status([running], viewOf(claimed, lost, again)).kind).toBe("thinking");
  });

  it("shows what needs a person before what goes on by itself", () => {
    const paused = makeTask({ id: "task_2", state: "paused", parked: limit });
    expect(status([running, paused]).kind).toBe("paused");
    const question = { kind: "question" as const, question_id: "q", question: "?" };
    const asked = makeTask({ id: "task_3", state: "waiting", parked: question });
    expect(status([running, asked]).kind).toBe("approval");
  });

  it("celebrates for ten seconds and is idle after", () => {
    const done = (ms: number) => makeTask({ state: "succeeded", ended_at: ago(ms) });
    expect(status([done(9_000)]).kind).toBe("done");
    expect(status([done(11_000)])).toEqual({ kind: "idle", since: ago(11_000) });
  });

  it("shows a failure until something newer happens", () => {
    const failed = makeTask({
      id: "task_2",
      state: "failed",
      ended_at: ago(30_000),
      cause: "loop",
    });
    expect(statusBubble(status([failed]), nowMs)).toBe(
      "Failed: The agent repeated the same steps without getting further.",
    );
    expect(status([failed, running]).kind).toBe("thinking");
    const done = makeTask({ id: "task_3", state: "succeeded", ended_at: ago(20_000) });
    expect(status([failed, done]).kind).toBe("idle");
    expect(status([{ ...failed, ended_at: ago(3_600_000) }]).kind).toBe("idle");
  });

  it("takes no account of others' tasks", () => {
    expect(status([makeTask({ agent_id: "sable", state: "running" })])).toEqual({
      kind: "idle",
      since: undefined,
    });
  });
});

describe("describing the office", () => {
  it("sums it up in one line that adds up to all agents", () => {
    const summary = officeSummary([
      status([running]),
      status([]),
      status([makeTask({ state: "paused", parked: limit })]),
      status([makeTask({ state: "succeeded", ended_at: ago(1_000) })]),
    ]);
    expect(summary).toBe("4 agents: 1 working · 1 paused · 2 idle");
  });

  it.each([
    ['Graham "Gray" Sutton', "Gray"],
    ["Sable Chen", "Sable"],
    ["Wren", "Wren"],
  ])("calls %s %s", (name, short) => {
    expect(shortName(name)).toBe(short);
  });
});
