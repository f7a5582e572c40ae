import type { LimitStop } from "@guildhall/sdk/contract/limit.ts";
import { expect, test } from "vitest";
import { parkedLine } from "./parked.ts";

const stop: LimitStop = {
  kind: "limit",
  status: "exhausted",
  meter: "model_cost",
  level: "agent",
  scope_id: "sable",
  scope_name: "Sable Chen",
  period: "2026-11",
  limit: 5_000_000_000,
  posted: 4_900_000_000,
  held: 50_000_000,
  left: 50_000_000,
  needed: 310_000_000,
  resets_at: "2026-12-01T00:00:00.000Z",
  raised_by: ["owner", "admin"],
};

test("an exhausted limit is told with its figures, when it turns, who may raise it and how", () => {
  expect(parkedLine(stop)).toBe(
    [
      "❚❚ paused, exhausted: the limit is reached, model budget of the agent Sable Chen: $4.90 used and $0.0500 held of $5.00, $0.0500 left, the next step needs $0.3100.",
      "  Nothing is lost; it goes on by itself when the limit is raised or the period turns.",
      "  The period turns 2026-12-01 00:00 UTC.",
      "  Raised by an owner or an admin:",
      "  guildhall limit set <usd> --agent sable",
    ].join("\n"),
  );
});

test("what open calls hold is told apart: it goes on by itself, and nobody needs to raise anything", () => {
  const text = parkedLine({ ...stop, status: "reserved" });
  expect(text).toContain("paused, reserved: open calls hold the rest, model budget of the agent");
  expect(text).toContain("goes on by itself when those calls end");
  expect(text).not.toContain("limit set");
});

test("a limit above the workspace tells its own use only, and who may raise it", () => {
  const text = parkedLine({
    ...stop,
    level: "owner",
    scope_name: null,
    limit: null,
    left: null,
    raised_by: ["payer"],
  });
  expect(text).toContain(
    "model budget of the billing account: this workspace used $4.90 and holds $0.0500",
  );
  expect(text).toContain("Raised by whoever pays for the workspace.");
  expect(text).not.toContain("limit set");
});

test.each([
  ["agent_time", "<minutes> --meter agent_time"],
  ["model_calls", "<count> --meter model_calls"],
  ["tool_calls", "<count> --meter tool_calls"],
] as const)("the command that raises %s takes its own unit", (meter, command) => {
  const text = parkedLine({ ...stop, meter, level: "task", scope_id: "task_1", resets_at: null });
  expect(text).toContain(`guildhall limit set ${command} --task task_1`);
  expect(text).not.toContain("period turns");
});

test("a missing price and a suspended workspace are told with who can help", () => {
  expect(parkedLine({ kind: "unpriced", model: "claude-x", raised_by: ["operator"] })).toMatch(
    /unpriced: claude-x has no price.*\n.*whoever runs this installation adds the price/,
  );
  expect(
    parkedLine({ kind: "suspended", reason: "margin_guard", raised_by: ["operator"] }),
  ).toMatch(/suspended: .*\(margin_guard\)/);
});
