import { ConnectionError, GuildhallError } from "@guildhall/sdk/client/errors.ts";
import type { Problem } from "@guildhall/sdk/contract/problem.ts";
import { expect, test } from "vitest";
import { describeError, exitCodeOf, UsageError } from "./exit.ts";

const problem = (status: number, more: Partial<Problem> = {}): GuildhallError =>
  new GuildhallError({
    type: "/docs/errors#x",
    title: "X",
    status,
    code: "x",
    detail: "It is not so.",
    request_id: "req_1",
    ...more,
  });

test.for<[status: number, code: number]>([
  [400, 2],
  [401, 4],
  [402, 3],
  [403, 4],
  [404, 1],
  [409, 1],
  [413, 1],
  [422, 2],
  [429, 3],
  [500, 1],
  [503, 1],
])("an answer of %i ends the command with %i", ([status, code]) => {
  expect(exitCodeOf(problem(status))).toBe(code);
});

test("a wrong command line ends with 2, everything unforeseen with 1", () => {
  expect(exitCodeOf(new UsageError("x"))).toBe(2);
  expect(exitCodeOf(new ConnectionError("x"))).toBe(1);
  expect(exitCodeOf(new TypeError("x"))).toBe(1);
  expect(exitCodeOf("x")).toBe(1);
});

test("an error says what was wrong, where, what to do, and how to ask about it, each once", () => {
  const error = problem(400, {
    code: "agent_not_found",
    hint: "The agents are: gray.",
    errors: [{ field: "agent", message: "There is no such agent." }],
  });
  expect(describeError(error)).toBe(
    "It is not so.\n  agent: There is no such agent.\nThe agents are: gray.\n(agent_not_found, request req_1)",
  );
  const repeating = problem(400, {
    detail: "The request is not valid: prompt: too long",
    errors: [{ field: "prompt", message: "too long" }],
  });
  expect(describeError(repeating)).toBe(
    "The request is not valid: prompt: too long\n(x, request req_1)",
  );
});

test("who has to wait is told for how long", () => {
  const { problem: refused } = problem(429, { detail: "Used up." });
  expect(describeError(new GuildhallError(refused, 3_087_000))).toBe(
    "Used up.\nThe next try can succeed in 51 min 27 s.\n(x, request req_1)",
  );
});

test("a server's words cannot steer the terminal", () => {
  expect(describeError(problem(400, { detail: "a\u001b[2Jb", hint: "c\u0007" }))).toBe(
    "a[2Jb\nc\n(x, request req_1)",
  );
});
