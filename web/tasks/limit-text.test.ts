import { describe, expect, it } from "vitest";
import { makeStop } from "../test/tasks.ts";
import { helped, suggestion, targetOfStop, toAmount, toText } from "./limit-target.ts";
import { holdUpName, holdUpStory, parkedLine, raisersText } from "./limit-text.ts";

const stop = makeStop();

describe("what a limit says", () => {
  it("names the limit, what is used, reserved and left, what the next step needs, and when it turns", () => {
    expect(holdUpStory(stop)).toBe(
      "Paused, the limit is reached: Workspace budget $50.00. $49.86 used, $0.00 reserved, $0.14 left, and the next step needs up to $0.3100. The period turns Dec 1, 00:00 UTC.",
    );
  });

  it("tells money that open calls hold from money that is spent", () => {
    const reserved = makeStop({ status: "reserved" });
    expect(holdUpStory(reserved)).toContain("open calls hold the rest");
    expect(holdUpName(reserved)).toBe("Workspace budget $50.00, held by open calls");
  });

  it("names the agent whose limit it is, and shows no limit that is shared with others", () => {
    const agent = makeStop({ level: "agent", scope_id: "sable", scope_name: "Sable Chen" });
    expect(parkedLine(agent)).toBe("Agent budget $50.00 (Sable Chen)");
    const shared = makeStop({ level: "owner", scope_name: null, limit: null, left: null });
    expect(holdUpStory(shared)).toContain(
      "Billing account budget. This workspace used $49.86 of it and reserved $0.00;",
    );
  });

  it("tells a missing price and a stopped workspace from limits", () => {
    expect(holdUpStory({ kind: "unpriced", model: "claude-x", raised_by: ["operator"] })).toContain(
      "claude-x has no price",
    );
    expect(
      holdUpStory({ kind: "suspended", reason: "margin_guard", raised_by: ["operator"] }),
    ).toBe("Paused: the whole workspace is stopped, because its cost would exceed its revenue.");
  });

  it("says who may raise it", () => {
    expect(raisersText(["owner", "admin"])).toBe("an owner or an admin");
  });
});

describe("raising a limit", () => {
  it("is offered only where the workspace may", () => {
    expect(targetOfStop(stop)).toMatchObject({ level: "workspace", scopeId: "ws_1" });
    expect(targetOfStop(makeStop({ level: "platform" }))).toBeUndefined();
    expect(targetOfStop({ kind: "unpriced", model: "m", raised_by: ["operator"] })).toBeUndefined();
  });

  it("suggests what lets the next step through, and counts whom an amount helps", () => {
    const target = {
      ...targetOfStop(stop)!,
      needs: [300, 100, 200],
      used: 1_000,
      held: 0,
      max: 900,
    };
    expect(suggestion(target)).toBe(1_800);
    expect([1_099, 1_100, 1_299, 1_300, 1_600].map((amount) => helped(target, amount))).toEqual([
      0, 1, 1, 2, 3,
    ]);
  });

  it.each([
    ["model_cost", "12.5", 12_500_000_000],
    ["agent_time", "90", 5_400_000],
    ["model_calls", "7", 7],
  ] as const)("reads and writes %s in the unit that people use", (meter, text, amount) => {
    expect(toAmount(meter, text)).toBe(amount);
    expect(toText(meter, amount)).toBe(text);
    for (const wrong of ["", "0", "-1", "x"]) expect(toAmount(meter, wrong)).toBeUndefined();
  });
});
