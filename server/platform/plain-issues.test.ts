import { createTaskSchema, listTasksSchema } from "@guildhall/sdk/contract/task.ts";
import { expect, it } from "vitest";
import { speakPlainly } from "./plain-issues.ts";

speakPlainly();

function problems(result: {
  success: boolean;
  error?: { issues: { path: PropertyKey[]; message: string }[] };
}) {
  return result.error?.issues.map((issue) => `${issue.path.join(".")} ${issue.message}`);
}

it.each([
  [{}, ["agent is required", "prompt is required"]],
  [{ agent: "gray", prompt: " " }, ["prompt must not be empty"]],
  [{ agent: 7, prompt: "x" }, ["agent must be text"]],
  [{ agent: "gray", prompt: "x".repeat(100_001) }, ["prompt must have at most 100000 characters"]],
  [{ agent: "gray", prompt: "x", priority: 101 }, ["priority must be at most 100"]],
  [{ agent: "gray", prompt: "x", priority: 1.5 }, ["priority must be a whole number"]],
  [
    { agent: "gray", prompt: "x", limits: { cost_nano_usd: 0 } },
    ["limits.cost_nano_usd must be at least 1"],
  ],
])("%j is told off in words that follow the field's name", (body, expected) => {
  expect(problems(createTaskSchema.safeParse(body))).toEqual(expected);
});

it("a word that is none of the known ones is told with them", () => {
  expect(problems(listTasksSchema.safeParse({ state: "busy" }))).toEqual([
    "state must be one of queued, running, waiting, paused, succeeded, failed, cancelled",
  ]);
});
