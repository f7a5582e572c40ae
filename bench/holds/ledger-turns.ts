import type { ClaimedRun } from "../../server/test/tenant.ts";
import { measure, type Contestant } from "../figures.ts";
import type { HeldCall, LedgerDoor } from "./ledger-door.ts";

/** Two contestants: one holds for `forMs`, the other then settles all of that, so that the money returns. */
export function ledgerTurns(
  door: LedgerDoor,
  options: { name: string; callers: number; forMs: number; pick(n: number): ClaimedRun },
): [holds: Contestant, settlements: Contestant] {
  const { name, callers } = options;
  let open: HeldCall[] = [];
  return [
    {
      name,
      round: () =>
        measure(options, async (n) => {
          const call = await door.hold(options.pick(n));
          if (!call) throw new Error("a hold was refused although there is plenty");
          open.push(call);
        }),
    },
    {
      name: `${name}: settlements`,
      async round() {
        const settled = await measure({ callers, count: open.length }, (n) =>
          door.settle(open[n]!),
        );
        open = [];
        return settled;
      },
    },
  ];
}
