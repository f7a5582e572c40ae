import { expect, it } from "vitest";
import { z } from "zod";
import { defineTool, type SealedTool, type ToolEffect } from "../../tools/tools.ts";
import { stepSchema } from "../step.ts";
import { call, runNative, say, type Stored } from "./native-fixture.ts";

type Seen = { keys: string[] };

/** A tool that answers with its input and remembers under which keys it was run. */
function echo(seen: Seen, effect: ToolEffect = "read"): SealedTool {
  return defineTool({
    name: "echo",
    description: "Answers with what it was given.",
    input: z.looseObject({ word: z.string().optional() }),
    effect,
    permission: "files:read",
    costRule: "free",
    run(input, { idempotencyKey }) {
      seen.keys.push(idempotencyKey);
      return Promise.resolve({ isError: false, content: JSON.stringify(input), summary: "Echoed" });
    },
  });
}

/** The same value with the keys of every object in the other order. */
function reversedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((member) => reversedKeys(member));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, member]) => [key, reversedKeys(member)] as const)
      .toReversed(),
  );
}

const eventTypes = (stored: Stored): string[] => stored.events.map((event) => event.type);

it("an answer without tool calls ends the run with its words", async () => {
  const { outcome, stored } = await runNative({ script: [{ content: [say("All done.")] }] });
  expect(outcome).toEqual({ status: "succeeded", result: "All done." });
  expect(eventTypes(stored)).toEqual(["model.started", "model.text", "model.completed"]);
});

it("tool calls of one answer run in order, each under its own key, before the model is asked again", async () => {
  const seen: Seen = { keys: [] };
  const { outcome, bodies } = await runNative({
    tools: [echo(seen)],
    script: [
      {
        content: [say("Two."), call("a", "echo", { word: "x" }), call("b", "echo", { word: "y" })],
      },
      { content: [say("Good.")] },
    ],
  });
  expect(outcome.status).toBe("succeeded");
  expect(seen.keys).toEqual(["run_t/2", "run_t/3"]);
  const { messages } = JSON.parse(bodies[1]!) as { messages: { content: object[] }[] };
  expect(messages.at(-1)!.content).toEqual([
    { type: "tool_result", tool_use_id: "a", content: '{"word":"x"}' },
    { type: "tool_result", tool_use_id: "b", content: '{"word":"y"}' },
  ]);
});

it("a resumed run sends the very bytes that the first attempt sent, whatever order the database keeps keys in", async () => {
  const tools = [echo({ keys: [] })];
  const input = { zebra: 1, word: "a\u0000b\uD800", deep: { z: [1, { y: 1, a: 2 }], b: null } };
  const first = { content: [say("Looking."), call("a", "echo", input)] };
  const whole = await runNative({ tools, script: [first, { content: [say("End.")] }] });
  const reordered = whole.stored.steps
    .slice(0, 2)
    .map((step) => stepSchema.parse({ ...step, body: reversedKeys(step.body) }));
  const resumed = await runNative({
    tools,
    attempt: 2,
    stored: { steps: reordered, events: [] },
    script: [{ content: [say("End.")] }],
  });
  expect(resumed.bodies).toEqual([whole.bodies[1]]);
  expect(resumed.stored.events[0]).toMatchObject({ type: "run.resumed", data: { from_step: 2 } });
});

it.each(["read", "idempotent"] as const)(
  "a %s tool that was interrupted runs again under the same key",
  async (effect) => {
    const seen: Seen = { keys: [] };
    const stored = interrupted();
    const { outcome } = await runNative({
      tools: [echo(seen, effect)],
      stored,
      attempt: 2,
      script: [{ content: [say("Done.")] }],
    });
    expect(outcome.status).toBe("succeeded");
    expect(seen.keys).toEqual(["run_t/2"]);
    expect(stored.steps[1]).toMatchObject({ state: "done" });
  },
);

it("an at_most_once tool that was interrupted is not run again, and the model is told that its outcome is unknown", async () => {
  const seen: Seen = { keys: [] };
  const stored = interrupted();
  const { bodies } = await runNative({
    tools: [echo(seen, "at_most_once")],
    stored,
    attempt: 2,
    script: [{ content: [say("I see.")] }],
  });
  expect(seen.keys).toEqual([]);
  expect(stored.steps[1]).toMatchObject({ state: "unknown" });
  expect(bodies[0]).toContain("must not be run twice");
});

function interrupted(): Stored {
  const usage = { input_tokens: 1, cache_read_tokens: 0, cache_write_tokens: 0, output_tokens: 1 };
  return {
    events: [],
    steps: [
      {
        kind: "model",
        stepNo: 1,
        state: "done",
        body: {
          model: "m",
          content: [{ type: "tool_use", id: "a", name: "echo", input: {} }],
          stop_reason: "tool_use",
          usage,
          hold_id: null,
        },
      },
      {
        kind: "tool",
        stepNo: 2,
        state: "started",
        body: { tool_use_id: "a", name: "echo", input: {} },
      },
    ],
  };
}

it("a tool that parks leaves its step started, and runs again when the run goes on, whatever its effect", async () => {
  let answered = false;
  const ask = echo({ keys: [] }, "at_most_once");
  const reason = { kind: "question", question_id: "qst_1", question: "Sure?" } as const;
  const parking: SealedTool = {
    ...ask,
    call: (input, ctx) =>
      answered ? ask.call(input, ctx) : (Promise.resolve({ status: "park", reason }) as never),
  };
  const first = await runNative({ tools: [parking], script: [{ content: [call("a", "echo")] }] });
  expect(first.outcome).toEqual({ status: "parked", state: "waiting", reason });
  expect(first.stored.steps[1]).toMatchObject({ state: "started" });
  answered = true;
  const second = await runNative({
    tools: [parking],
    stored: first.stored,
    attempt: 2,
    script: [{ content: [say("Thanks.")] }],
  });
  expect(second.outcome).toEqual({ status: "succeeded", result: "Thanks." });
  expect(eventTypes(second.stored).filter((type) => type === "tool.started")).toHaveLength(1);
});

it("passing failures are tried again, each told of, and cost no step", async () => {
  const overloaded = { status: 529, error: { type: "overloaded_error", message: "Busy" } };
  const { outcome, stored } = await runNative({
    script: [overloaded, { cut: true }, { content: [say("At last.")] }],
  });
  expect(outcome).toEqual({ status: "succeeded", result: "At last." });
  expect(stored.steps).toHaveLength(1);
  const failures = stored.events.filter((event) => event.type === "model.failed");
  expect(failures.map((event) => event.data.retry_in_ms)).toEqual([1, 1]);
});

it("a model that stays away fails the run with its cause, after the last try", async () => {
  const away = { status: 503, error: { type: "api_error", message: "Down" } };
  const { outcome, bodies, stored } = await runNative({ script: [away] });
  expect(outcome).toMatchObject({ status: "failed", cause: "model_unavailable" });
  expect(bodies).toHaveLength(4);
  expect(stored.events.at(-1)).toMatchObject({ type: "model.failed", data: { retry_in_ms: null } });
});

it.each([
  ["budget_exhausted", "exhausted"],
  ["budget_reserved", "reserved"],
] as const)(
  "a budget's 402 %s parks the run with the limit that stopped it, %s",
  async (code, status) => {
    const details = {
      meter: "model_cost",
      level: "workspace",
      scope_id: "ws_t",
      period: "2026-11",
      limit: 5,
      posted: 4,
      held: 0,
      needed: 3,
      resets_at: "2026-12-01T00:00:00.000Z",
    };
    const { outcome, bodies } = await runNative({
      script: [{ status: 402, error: { type: "budget_exhausted", code, message: "No.", details } }],
    });
    const { resets_at: _, ...limit } = details;
    expect(outcome).toEqual({
      status: "parked",
      state: "paused",
      reason: { kind: "limit", status, ...limit },
    });
    expect(bodies).toHaveLength(1);
  },
);

it.each([
  [
    401,
    { type: "authentication_error", code: "run_not_active", message: "Over." },
    { status: "lost" },
  ],
  [
    402,
    { type: "call_limit_reached", message: "Enough.", details: { limit: 7 } },
    {
      status: "parked",
      state: "paused",
      reason: { kind: "limit", status: "exhausted", meter: "model_calls", posted: 7, needed: 1 },
    },
  ],
  [
    402,
    { type: "billing_error", code: "workspace_suspended", message: "?", details: { reason: "x" } },
    { status: "parked", state: "paused", reason: { kind: "suspended", reason: "x" } },
  ],
  [
    402,
    { type: "budget_exhausted", message: "a gateway that tells no figures" },
    { status: "failed", cause: "budget_exhausted" },
  ],
  [
    400,
    { type: "invalid_request_error", code: "model_not_priced", message: "?" },
    { status: "parked", state: "paused", reason: { kind: "unpriced", model: "test-model" } },
  ],
  [
    400,
    { type: "invalid_request_error", message: "prompt is too long: 9" },
    { status: "failed", cause: "context_full" },
  ],
  [
    400,
    { type: "invalid_request_error", message: "bad" },
    { status: "failed", cause: "model_refused_request" },
  ],
])(
  "a %i that another try would not change ends the run at once: %j",
  async (status, error, expected) => {
    const { outcome, bodies } = await runNative({ script: [{ status, error }] });
    expect(outcome).toMatchObject(expected);
    expect(bodies).toHaveLength(1);
  },
);

it("an answer that was cut at the output limit goes on where it stopped, but not for ever", async () => {
  const cut = { content: [say("First half")], stop: "max_tokens" };
  const once = await runNative({ script: [cut, { content: [say("second half.")] }] });
  expect(once.outcome).toEqual({ status: "succeeded", result: "second half." });
  expect(once.bodies[1]).toContain("Go on exactly where it stopped");
  const ever = await runNative({ script: [cut] });
  expect(ever.outcome).toMatchObject({ status: "failed", cause: "output_limit" });
  expect(ever.bodies).toHaveLength(4);
});

it("a tool call that was cut at the output limit is not run, and the model is told so", async () => {
  const seen: Seen = { keys: [] };
  const { bodies } = await runNative({
    tools: [echo(seen)],
    script: [
      {
        content: [call("a", "echo", { word: "whole" }), call("b", "echo", { word: "cut" })],
        stop: "max_tokens",
      },
      { content: [say("Smaller then.")] },
    ],
  });
  expect(seen.keys).toEqual(["run_t/2"]);
  expect(bodies[1]).toContain("This call was not run");
});

it("a refusal ends the run with its cause", async () => {
  const { outcome } = await runNative({ script: [{ content: [say("No.")], stop: "refusal" }] });
  expect(outcome).toMatchObject({ status: "failed", cause: "refused" });
});

it("the limit of tool calls ends the run before the call that would exceed it", async () => {
  const seen: Seen = { keys: [] };
  const script = Array.from({ length: 9 }, (_, n) => ({
    content: [call(`c${n}`, "echo", { word: `${n}` })],
  }));
  const { outcome } = await runNative({ tools: [echo(seen)], script, toolCallLimit: 2 });
  expect(outcome).toMatchObject({
    status: "parked",
    state: "paused",
    reason: { meter: "tool_calls", level: "task", scope_id: "task_t", posted: 2, needed: 1 },
  });
  expect(seen.keys).toHaveLength(2);
});

it("a tool that was not given to the agent cannot be called", async () => {
  const { stored } = await runNative({
    script: [{ content: [call("a", "echo")] }, { content: [say("Well.")] }],
  });
  expect(stored.steps[1]).toMatchObject({ body: { is_error: true } });
});

it("a run that is asked to yield stops between two steps", async () => {
  const seen: Seen = { keys: [] };
  const { outcome, stored } = await runNative({
    tools: [echo(seen)],
    script: [{ content: [call("a", "echo"), call("b", "echo", { word: "b" })] }],
    shouldYield: () => seen.keys.length > 0,
  });
  expect(outcome).toEqual({ status: "yielded" });
  expect(stored.steps.map((step) => step.state)).toEqual(["done", "done"]);
});

it("an aborted run throws the reason of its signal", async () => {
  const reason = new Error("lease lost");
  await expect(
    runNative({ script: [{ content: [say("x")] }], signal: AbortSignal.abort(reason) }),
  ).rejects.toBe(reason);
});
