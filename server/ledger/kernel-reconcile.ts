import type { ReconcileOutcome, Reconciliation } from "./calls.ts";
import { emit, holdKey } from "./kernel-events.ts";
import type { State } from "./kernel-state.ts";
import { decide, type Decision, endHold } from "./kernel.ts";

// The rules by which a charge that nobody saw the end of is lowered to what the provider says. The functions of
// migrations/0009_reconcile.sql decide the same.

/**
 * A process has ended: whoever says so has seen it, by its exit or because its place was taken over. Silence is no end,
 * for a process that was only frozen wakes up and sends what it has marked as sent.
 */
export function processEnded(state: State, processId: string): Decision<void> {
  return decide(state, (draft) => emit(draft, { type: "process_ended", processId }));
}

/** Whether the provider can still come to charge more for this owner's requests than its report says. */
function isReportFinal(state: State, ownerId: string, finalBeforeMs: number): boolean {
  const endedAtMs = state.endedProcesses.get(ownerId);
  return endedAtMs !== undefined && endedAtMs < finalBeforeMs && finalBeforeMs <= state.nowMs;
}

/** Ends a provisional charge at the provider's figure, never above what was held. */
export function reconcile(state: State, ask: Reconciliation): Decision<ReconcileOutcome> {
  return decide(state, (draft): ReconcileOutcome => {
    const { workspaceId, holdId, chargedNanoUsd, proof } = ask;
    const hold = state.holds.get(holdKey(workspaceId, holdId));
    if (hold?.state !== "PROVISIONAL") return { status: "unchanged", state: hold?.state ?? null };
    if (proof.kind === "report" && !isReportFinal(state, hold.ownerId, proof.finalBeforeMs))
      return { status: "not_final" };
    return endHold(draft, {
      workspaceId,
      holdId,
      outcome: "settled",
      actualNanoUsd: chargedNanoUsd,
    });
  });
}
