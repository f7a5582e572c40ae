import fc from "fast-check";
import { expect, it } from "vitest";
import { type PlanName, planNames, plans } from "../ledger/plans.ts";
import {
  agentTimeOverageNanoUsd,
  allowedCost,
  costOf,
  decide,
  type MonthUse,
  revenueOf,
} from "./margin.ts";

const USD = 1_000_000_000;
const MINUTE_MS = 60_000;

const use: MonthUse = { modelCostNanoUsd: 0, agentTimeMs: 0, storageMibS: 0, period: "2026-11" };

it("cost is the model, agent-seconds and GiB-months at the operator's rates, exact to the nano-USD", () => {
  const rates = { agentSecondNanoUsd: 30_000, storageGibMonthNanoUsd: 100_000_000 };
  const gibForAMonth = 1_024 * 30 * 86_400;
  expect(
    costOf(
      { ...use, modelCostNanoUsd: 7, agentTimeMs: 90_500, storageMibS: 3 * gibForAMonth },
      rates,
    ),
  ).toEqual({ modelNanoUsd: 7, agentNanoUsd: 2_715_000, storageNanoUsd: 300_000_000 });
  // A month of 31 days is one GiB-month as well.
  const long = { ...use, period: "2026-12", storageMibS: 1_024 * 31 * 86_400 };
  expect(costOf(long, rates).storageNanoUsd).toBe(100_000_000);
  expect(costOf({ ...use, agentTimeMs: 1, storageMibS: 1 }, rates)).toMatchObject({
    agentNanoUsd: 30,
    storageNanoUsd: 1,
  });
});

it.each([
  [0, 0],
  [1, 10_000_000],
  [10_000, 100 * USD],
  [10_001, 100 * USD + 8_000_000],
  [100_000, 820 * USD],
  [100_001, 820 * USD + 6_000_000],
])("%i agent-minutes above the plan bring in %i nano-USD", (minutes, expected) => {
  expect(agentTimeOverageNanoUsd(minutes * MINUTE_MS)).toBe(expected);
});

it("revenue is the plan's price until its included amounts are used, and then what is billed above them", () => {
  const starter = plans.starter;
  const within = {
    ...use,
    modelCostNanoUsd: starter.modelCostNanoUsd!,
    agentTimeMs: starter.agentTimeMs!,
  };
  const terms = (cost: number, time: number) => ({
    modelCostNanoUsd: { included: starter.modelCostNanoUsd, overage: cost },
    agentTimeMs: { included: starter.agentTimeMs, overage: time },
  });
  const none = terms(0, 0);
  const capped = terms(USD, 2 * MINUTE_MS);
  expect(revenueOf("starter", within, capped)).toBe(49 * USD);
  const above = {
    ...within,
    modelCostNanoUsd: within.modelCostNanoUsd + 5,
    agentTimeMs: within.agentTimeMs + MINUTE_MS,
  };
  expect(revenueOf("starter", above, capped)).toBe(49 * USD + 5 + 10_000_000);
  // Without an overage nobody agreed to pay for more, and beyond it nobody did either.
  expect(revenueOf("starter", above, none)).toBe(49 * USD);
  const far = { ...within, modelCostNanoUsd: 100 * USD };
  expect(revenueOf("starter", far, capped)).toBe(50 * USD);
  const endless = { included: null, overage: USD };
  expect(revenueOf("self_hosted", far, { modelCostNanoUsd: endless, agentTimeMs: endless })).toBe(
    0,
  );
  // What a contract includes beyond the plan is not billed.
  const agreed = { ...capped, modelCostNanoUsd: { included: 200 * USD, overage: USD } };
  expect(revenueOf("starter", far, agreed)).toBe(49 * USD);
});

it.each<[PlanName, number, number | undefined, number | null]>([
  ["starter", 49 * USD, 30, 34_300_000_000],
  ["starter", 49 * USD, 0, 49 * USD],
  ["starter", 49 * USD, 100, USD],
  ["free", 0, 50, USD],
  ["starter", 49 * USD, undefined, null],
  ["self_hosted", 0, 50, null],
  ["enterprise", 0, 50, null],
])(
  "%s with a revenue of %i and a least margin of %s may cost %s",
  (plan, revenue, percent, expected) => {
    const rule = { leastMarginPercent: percent, graceNanoUsd: USD };
    expect(allowedCost(plan, revenue, rule)).toBe(expected);
  },
);

const amount = fc.nat({ max: 1_000_000 });
const state = fc.record({
  costNanoUsd: amount,
  heldNanoUsd: amount,
  allowedNanoUsd: fc.option(amount),
  suspended: fc.constantFrom(null, "margin_guard", "operator"),
  pausedHeldNanoUsd: fc.option(amount),
});

it("nobody is paused who cannot exceed what is allowed, and nobody who could goes on", () => {
  fc.assert(
    fc.property(state, (s) => {
      const decided = decide(s);
      const running = decided === "lift" || (decided === "stay" && s.suspended === null);
      if (s.suspended === "operator") expect(decided).toBe("stay");
      else if (s.allowedNanoUsd === null) expect(running).toBe(true);
      else if (running) expect(s.costNanoUsd + s.heldNanoUsd).toBeLessThanOrEqual(s.allowedNanoUsd);
      else if (s.suspended === null)
        expect(s.costNanoUsd + s.heldNanoUsd).toBeGreaterThan(s.allowedNanoUsd);
    }),
  );
});

it("who was just paused is not let go by the return of what was open alone, unless as much fits again", () => {
  fc.assert(
    fc.property(state, amount, (s, actual) => {
      fc.pre(decide({ ...s, suspended: null }) === "pause");
      const after = {
        ...s,
        suspended: "margin_guard",
        costNanoUsd: s.costNanoUsd + Math.min(actual, s.heldNanoUsd),
        heldNanoUsd: 0,
        pausedHeldNanoUsd: s.heldNanoUsd,
      };
      if (decide(after) === "lift")
        expect(after.costNanoUsd + s.heldNanoUsd).toBeLessThanOrEqual(s.allowedNanoUsd!);
    }),
  );
});

it("money stays exact up to millions of dollars, at every plan", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...planNames),
      fc.nat({ max: 2_000_000 * USD }),
      fc.nat({ max: 10_000_000_000 }),
      fc.nat({ max: 3_000_000_000_000 }),
      (plan, modelCostNanoUsd, agentTimeMs, storageMibS) => {
        const month = { ...use, modelCostNanoUsd, agentTimeMs, storageMibS };
        const cost = costOf(month, {
          agentSecondNanoUsd: 50_000,
          storageGibMonthNanoUsd: 100_000_000,
        });
        const terms = {
          modelCostNanoUsd: { included: 0, overage: modelCostNanoUsd },
          agentTimeMs: { included: 0, overage: agentTimeMs },
        };
        for (const value of [...Object.values(cost), revenueOf(plan, month, terms)])
          expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
      },
    ),
  );
});
