import { expect, it } from "vitest";
import { z } from "zod";
import { newId } from "../../platform/ids.ts";
import { defineTool, type SealedTool } from "../../tools/tools.ts";
import { call, runNative, say, type Stored } from "./native-fixture.ts";

/** A tool that notes each run and answers what `answer` makes of how many there were. */
function noting(name: string, runs: string[], answer: (run: number) => string = () => "same") {
  return defineTool({
    name,
    description: "Answers.",
    input: z.looseObject({}),
    effect: "read",
    permission: "files:read",
    costRule: "free",
    run() {
      runs.push(name);
      return Promise.resolve({ isError: false, content: answer(runs.length), summary: "Answered" });
    },
  });
}

/** An agent that gives these answers of tool calls over and over, and keeps quiet after `answers` of them. */
function going(names: readonly (readonly string[])[], answers: number) {
  const rounds = Array.from({ length: answers }, (_, n) => {
    const uses = names[n % names.length] ?? [];
    return { content: uses.map((name, use) => call(`c${n}_${use}`, name, { word: "x" })) };
  });
  return [...rounds, { content: [say("Done.")] }];
}

const refusals = ({ steps }: Stored): number =>
  steps.filter((step) => step.kind === "tool" && step.body.refused === true).length;

async function run(
  tools: readonly SealedTool[],
  script: ReturnType<typeof going>,
  stored?: Stored,
): ReturnType<typeof runNative> {
  const attempt = stored === undefined ? {} : { stored, attempt: 2 };
  return runNative({ tools, script, ...attempt });
}

it("the same call with the same outcome is refused the fourth time in a row, with words that say why, and ends the run the fifth", async () => {
  const runs: string[] = [];
  const { outcome, stored, bodies } = await run([noting("look", runs)], going([["look"]], 9));
  expect(outcome).toMatchObject({ status: "failed", cause: "loop" });
  expect(runs).toHaveLength(3);
  expect(refusals(stored)).toBe(1);
  expect(bodies[4]).toContain("called look with exactly this input 3 times in a row");
  expect(bodies).toHaveLength(5);
});

it("an agent that heeds the warning goes on, and is not warned again when it falls back into the same", async () => {
  const runs: string[] = [];
  const heeds = [...going([["look"]], 4).slice(0, 4), { content: [say("Done.")] }];
  const heeded = await run([noting("look", runs)], heeds);
  expect(heeded.outcome).toEqual({ status: "succeeded", result: "Done." });
  const back = [
    ...going([["look"]], 4).slice(0, 4),
    { content: [call("other", "wait")] },
    ...going([["look"]], 9),
  ];
  const again = await run([noting("look", runs), noting("wait", [])], back);
  expect(again.outcome).toMatchObject({ status: "failed", cause: "loop" });
  expect(refusals(again.stored)).toBe(1);
});

it("calls of one answer are all refused before the agent is blamed for any: it has not read the warning yet", async () => {
  const runs: string[] = [];
  const six = Array.from({ length: 6 }, () => "look");
  const once = await run([noting("look", runs)], going([six], 1));
  expect(once.outcome).toEqual({ status: "succeeded", result: "Done." });
  expect(refusals(once.stored)).toBe(3);
  const twice = await run([noting("look", runs)], going([six], 2));
  expect(twice.outcome).toMatchObject({ status: "failed", cause: "loop" });
  expect(refusals(twice.stored)).toBe(3);
});

it.each([
  ["two calls", [["a"], ["b"]]],
  ["three calls", [["a"], ["b"], ["c"]]],
  [
    "four calls in two answers",
    [
      ["a", "b"],
      ["a", "c"],
    ],
  ],
])("a round of %s is a repetition like a single call", async (_, names) => {
  const runs: string[] = [];
  const tools = ["a", "b", "c"].map((name) => noting(name, runs));
  const { outcome, stored } = await run(tools, going(names, 40));
  expect(outcome).toMatchObject({ status: "failed", cause: "loop" });
  expect(runs).toHaveLength(3 * names.flat().length);
  expect(refusals(stored)).toBeGreaterThan(0);
});

it("a call that comes to something new each time is no repetition", async () => {
  const runs: string[] = [];
  const { outcome } = await run(
    [noting("inbox", runs, (n) => `message ${n}`)],
    going([["inbox"]], 12),
  );
  expect(outcome.status).toBe("succeeded");
  expect(runs).toHaveLength(12);
});

it("a new id is nothing new: the same message sent over and over is a repetition", async () => {
  const runs: string[] = [];
  const send = noting("send", runs, () => JSON.stringify({ message_id: newId("msg") }));
  const { outcome } = await run([send], going([["send"]], 9));
  expect(outcome).toMatchObject({ status: "failed", cause: "loop" });
  expect(runs).toHaveLength(3);
});

it("a run that goes on elsewhere after any of its steps ends after the very same steps", async () => {
  const tools = [noting("a", []), noting("b", [])];
  const whole = await run(tools, going([["a", "b"]], 9));
  const { steps } = whole.stored;
  expect(whole.outcome).toMatchObject({ status: "failed", cause: "loop" });
  for (let kept = 1; kept <= steps.length; kept++) {
    const begun = steps.slice(0, kept);
    const answers = begun.filter((step) => step.kind === "model").length;
    const rest = going([["a", "b"]], 9).slice(answers);
    const resumed = await run(tools, rest, { steps: begun, events: [] });
    expect(resumed.outcome).toEqual(whole.outcome);
    expect(resumed.stored.steps).toEqual(steps);
  }
});
