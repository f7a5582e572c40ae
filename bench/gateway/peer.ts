import type { OwnProcess } from "../processes.ts";
import type { Target } from "./target.ts";

/** Another gateway, as its own process. */
export type Peer = OwnProcess & {
  /** With money that is never used up. */
  target: Target;
  /** Absent: it has no budgets. `n` makes it a budget of its own. */
  targetWithBudget?(usd: number, n: number): Target;
};
