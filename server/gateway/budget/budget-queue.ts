import type { ReserveOutcome } from "../../ledger/calls.ts";
import { createBudgetLine, MAX_OVERTAKEN, type BudgetLine, type Waiter } from "./budget-line.ts";

export type Admission = {
  workspaceId: string;
  /** Tries once. May be called many times; a try that answers `reserved` has held nothing. */
  reserve(): Promise<ReserveOutcome>;
  /** How long to wait for open holds. */
  waitMs: number;
  /** Aborted when the caller has no use for the outcome any more. */
  gone(): AbortSignal;
};

export type BudgetQueue = {
  /** The outcome of the reservation; `reserved` only after `waitMs`, or when the signal came first. */
  admit(admission: Admission): Promise<ReserveOutcome>;
  /** Open holds of this workspace have returned money: those who wait try again. */
  returned(workspaceId: string): void;
};

/** Levels that all calls of a workspace share. */
const SHARED_LEVELS: readonly string[] = ["workspace", "owner", "platform"];

function waitIn(
  line: BudgetLine,
  input: { admission: Admission; last: ReserveOutcome; onLeave(): void },
): Promise<ReserveOutcome> {
  const { admission } = input;
  const signal = admission.gone();
  return new Promise((resolve, reject) => {
    const expire = (): void => {
      waiter.expired = true;
      // A try under way may still take a hold, which must not be lost: it ends the waiting itself.
      if (!waiter.trying) waiter.finish(waiter.last);
    };
    const timer = setTimeout(expire, admission.waitMs);
    const leave = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", expire);
      line.leave(waiter);
      input.onLeave();
    };
    const waiter: Waiter = {
      reserve: () => admission.reserve(),
      last: input.last,
      overtaken: 0,
      expired: false,
      trying: false,
      finish(outcome) {
        leave();
        resolve(outcome);
      },
      fail(error) {
        leave();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    };
    line.waiters.push(waiter);
    signal.addEventListener("abort", expire, { once: true });
    if (signal.aborted) expire();
    else void line.pump();
  });
}

/**
 * Lets calls wait for money that open holds will return, fairly: one line per budget, first come first, with bounded
 * overtaking, so that neither small nor large calls starve. Only a few waiters ask the database at a time.
 */
export function createBudgetQueue(): BudgetQueue {
  /** By workspace, then by level and scope. */
  const linesOf = new Map<string, Map<string, BudgetLine>>();

  function wait(
    admission: Admission,
    place: { key: string; last: ReserveOutcome },
  ): Promise<ReserveOutcome> {
    const { workspaceId } = admission;
    const lines = linesOf.get(workspaceId) ?? new Map<string, BudgetLine>();
    const line = lines.get(place.key) ?? createBudgetLine();
    linesOf.set(workspaceId, lines);
    lines.set(place.key, line);
    return waitIn(line, {
      admission,
      last: place.last,
      onLeave() {
        if (line.waiters.length > 0) return;
        lines.delete(place.key);
        if (lines.size === 0 && linesOf.get(workspaceId) === lines) linesOf.delete(workspaceId);
      },
    });
  }

  /** The first of those who wait for a budget that every call of the workspace needs. */
  function firstShared(workspaceId: string): { key: string; waiter: Waiter } | undefined {
    for (const [key, line] of linesOf.get(workspaceId) ?? []) {
      const waiter = line.waiters[0];
      if (waiter !== undefined && SHARED_LEVELS.includes(key.split(" ", 1)[0] ?? ""))
        return { key, waiter };
    }
    return undefined;
  }

  return {
    async admit(admission) {
      const first = firstShared(admission.workspaceId);
      if (first !== undefined && first.waiter.overtaken >= MAX_OVERTAKEN)
        return wait(admission, { key: first.key, last: first.waiter.last });
      const outcome = await admission.reserve();
      if (outcome.status === "reserved")
        return wait(admission, { key: `${outcome.level} ${outcome.scopeId}`, last: outcome });
      if (outcome.status === "held") {
        const passed = firstShared(admission.workspaceId)?.waiter;
        if (passed !== undefined) passed.overtaken += 1;
      }
      return outcome;
    },
    returned(workspaceId) {
      for (const line of linesOf.get(workspaceId)?.values() ?? []) void line.pump();
    },
  };
}
