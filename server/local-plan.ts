import { applyPlan, setOwnCap } from "./ledger/plan-terms.ts";
import type { WorkspaceTx } from "./platform/db.ts";

/** Opens the plan of a workspace on its owner's own machine: no numbers but a monthly model budget, nano-USD. */
export function localPlan(budgetNanoUsd: number) {
  return async (tx: WorkspaceTx, plan: "self_hosted"): Promise<unknown> => {
    const limits = await applyPlan(tx, { plan, actor: "system" });
    await setOwnCap(tx, { meter: "model_cost", amount: budgetNanoUsd, actor: "system" });
    return { limits, budget: budgetNanoUsd };
  };
}
