import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { periodResetsAt } from "../../gateway/budget-refusal.ts";
import type { Ledger } from "../../ledger/ledger.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import type { Claim } from "./run-claims.ts";
import type { RunLease } from "./run-lease.ts";

const RETRY_MS = 250;

export type AgentTime = {
  /** Books the first slice. When there is none, it stops the lease's signal. */
  start(): Promise<void>;
  /** Gives back what was booked and not used, unless a later attempt has begun. Never rejects. */
  end(): Promise<void>;
};

export type AgentTimeDeps = {
  ledger: Pick<Ledger, "leaseAgentTime" | "returnAgentTime">;
  clock: Clock;
  claim: Claim;
  lease: RunLease;
  sliceMs: number;
  log: Logger;
};

type Answer = Awaited<ReturnType<Ledger["leaseAgentTime"]>>;

function toStop(answer: Extract<Answer, { status: "exhausted" }>) {
  const wakeAt = periodResetsAt(answer.period);
  const reason: Parked = {
    kind: "limit",
    meter: "agent_time",
    level: answer.level,
    scope_id: answer.scopeId,
    limit: answer.limit,
    posted: answer.posted,
    held: answer.held,
    needed: answer.needed,
    ...(wakeAt === undefined ? {} : { resets_at: wakeAt }),
  };
  return { kind: "agent_time" as const, reason, wakeAt };
}

/**
 * Agent time is booked ahead in slices, and the run stops where the booked time ends. A slice counts from before its
 * request was sent, so the run never has more than was booked.
 */
export function createAgentTime(deps: AgentTimeDeps): AgentTime {
  const { ledger, clock, claim, lease, sliceMs } = deps;
  const { workspaceId, runId, epoch } = claim;
  let endsAtMs = clock.monotonicMs();
  let exhausted: ReturnType<typeof toStop> | undefined;
  const timers = new Set<NodeJS.Timeout>();
  let closed = false;

  function at(timeMs: number, work: () => void): void {
    if (closed) return;
    const timer = setTimeout(
      () => {
        timers.delete(timer);
        work();
      },
      Math.max(1, timeMs - clock.monotonicMs()),
    );
    timers.add(timer);
  }

  /** Stops the run when its booked time is over: by the limit's word, or because nobody could be asked. */
  function expire(): void {
    if (closed) return;
    if (clock.monotonicMs() < endsAtMs) at(endsAtMs, expire);
    else lease.stop(exhausted ?? { kind: "lost" });
  }

  async function book(): Promise<void> {
    const answer = await ledger.leaseAgentTime({ workspaceId, runId, epoch, sliceMs });
    switch (answer.status) {
      case "stale":
        lease.stop({ kind: "lost" });
        return;
      case "exhausted":
        exhausted = toStop(answer);
        return;
      default:
        endsAtMs += answer.ms;
        at(endsAtMs - answer.ms / 3, () => void renew());
    }
  }

  async function renew(): Promise<void> {
    if (closed || lease.signal.aborted) return;
    try {
      await book();
    } catch (error) {
      deps.log.warn({ err: error, run_id: runId }, "agent time could not be booked, trying again");
      at(clock.monotonicMs() + RETRY_MS, () => void renew());
    }
  }

  return {
    async start() {
      endsAtMs = clock.monotonicMs();
      await book();
      expire();
    },
    async end() {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
      const unusedMs = Math.floor(endsAtMs - clock.monotonicMs());
      if (unusedMs <= 0) return;
      try {
        await ledger.returnAgentTime({ workspaceId, runId, epoch, unusedMs });
      } catch (error) {
        // At most a slice is lost; the outcome of the run must not be.
        deps.log.warn({ err: error, run_id: runId }, "unused agent time was not given back");
      }
    },
  };
}
