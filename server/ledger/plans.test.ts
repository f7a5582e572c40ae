import { expect, it } from "vitest";
import { planLimits, planNames, plans } from "./plans.ts";

it("every plan says of each meter how much it includes, in whole units", () => {
  for (const name of planNames) {
    const limits = planLimits(name);
    expect(limits.map((limit) => limit.meter)).toEqual([
      "model_cost",
      "agent_time",
      "concurrent_tasks",
      "api_requests",
      "members",
    ]);
    for (const { amount } of limits)
      expect(amount === null || (Number.isSafeInteger(amount) && amount > 0)).toBe(true);
  }
});

it("a dearer plan never includes less", () => {
  const paid = [plans.free, plans.starter, plans.pro];
  for (const [n, plan] of paid.slice(1).entries()) {
    const cheaper = paid[n]!;
    expect(plan.priceNanoUsd).toBeGreaterThan(cheaper.priceNanoUsd);
    expect(plan.agentTimeMs!).toBeGreaterThan(cheaper.agentTimeMs!);
    expect(plan.modelCostNanoUsd!).toBeGreaterThan(cheaper.modelCostNanoUsd!);
    expect(plan.concurrentTasks!).toBeGreaterThan(cheaper.concurrentTasks!);
  }
});
