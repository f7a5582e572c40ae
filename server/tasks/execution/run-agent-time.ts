import type { Ledger } from "../../ledger/ledger.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import type { ParkReason } from "../../runtimes/park-reason.ts";
import type { Claim } from "./run-claims.ts";
import type { RunLease } from "./run-lease.ts";

const RETRY_MS = 250;

export type AgentTime = {
  /** Goes on from the slice that was booked with the claim, or books the first one. When there is none, it stops the lease's signal. */
  start(): Promise<void>;
  /** Stops the count. -> what was booked and not used, milliseconds. Never rejects. */
  end(): Promise<number>;
};

export type AgentTimeDeps = {
  ledger: Pick<Ledger, "leaseAgentTime" | "noteRefusedTime">;
  clock: Clock;
  claim: Claim;
  /** When the claim was asked for, monotonic milliseconds: its slice counts from there. */
  claimedAtMs: number;
  lease: RunLease;
  sliceMs: number;
  log: Logger;
};

type Answer = Awaited<ReturnType<Ledger["leaseAgentTime"]>>;

function toStop(answer: Extract<Answer, { status: "exhausted" | "suspended" }>) {
  if (answer.status === "suspended") {
    const reason: ParkReason = { kind: "suspended", reason: answer.reason };
    return { kind: "agent_time" as const, reason };
  }
  const { status, level, scopeId, period, limit, posted, held, needed } = answer;
  const reason: ParkReason = {
    kind: "limit",
    status,
    meter: "agent_time",
    level,
    scope_id: scopeId,
    period,
    limit,
    posted,
    held,
    needed,
  };
  return { kind: "agent_time" as const, reason };
}

/** The bookings of one attempt, one after the other. Their answers may be lost; what they booked is not. */
function createBookings(deps: Pick<AgentTimeDeps, "ledger" | "claim" | "sliceMs">) {
  const { ledger, claim, sliceMs } = deps;
  const { workspaceId, runId, epoch } = claim;
  let bookingNo = 1;
  let bookedMs = 0;
  /** The last request, as long as it is not known what it has booked. */
  let unanswered: Promise<Answer> | undefined;

  function keep(answer: Answer): void {
    if (answer.status !== "granted") return;
    bookingNo++;
    bookedMs += answer.ms;
  }

  async function request(): Promise<Answer> {
    const answer = await ledger.leaseAgentTime({ workspaceId, runId, epoch, bookingNo, sliceMs });
    unanswered = undefined;
    keep(answer);
    return answer;
  }

  /** Asks under the same number until there is an answer, so that a booking whose answer was lost is not made twice. */
  function ask(): Promise<Answer> {
    unanswered = request();
    return unanswered;
  }

  if (claim.agentTime) keep(claim.agentTime);

  return {
    ask,
    bookedMs: () => bookedMs,
    /** Learns what the last request has booked, if its answer has not come. */
    async settle(): Promise<void> {
      await unanswered?.catch(() => undefined);
      if (unanswered) await ask();
    },
  };
}

/**
 * Agent time is booked ahead in slices, and the run stops where the booked time ends. A slice counts from before its
 * request was sent, so the run never has more than was booked.
 */
export function createAgentTime(deps: AgentTimeDeps): AgentTime {
  const { ledger, clock, claim, lease } = deps;
  const { workspaceId, runId } = claim;
  const bookings = createBookings(deps);
  let startedAtMs = deps.claimedAtMs;
  let refused: ReturnType<typeof toStop> | undefined;
  const timers = new Set<NodeJS.Timeout>();
  let closed = false;
  const endsAtMs = (): number => startedAtMs + bookings.bookedMs();

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

  /** Stops the run when its booked time is over: by the ledger's word, or because nobody could be asked. */
  function expire(): void {
    if (closed) return;
    if (clock.monotonicMs() < endsAtMs()) at(endsAtMs(), expire);
    else lease.stop(refused ?? { kind: "lost" });
  }

  function take(answer: Answer): void {
    switch (answer.status) {
      case "stale":
        lease.stop({ kind: "lost" });
        return;
      case "exhausted":
      case "suspended":
        refused = toStop(answer);
        return;
      default:
        at(endsAtMs() - answer.ms / 3, () => void renew());
    }
  }

  async function renew(): Promise<void> {
    if (closed || lease.signal.aborted) return;
    try {
      take(await bookings.ask());
    } catch (error) {
      deps.log.warn({ err: error, run_id: runId }, "agent time could not be booked, trying again");
      at(clock.monotonicMs() + RETRY_MS, () => void renew());
    }
  }

  return {
    async start() {
      if (claim.agentTime === undefined) {
        startedAtMs = clock.monotonicMs();
        take(await bookings.ask());
      } else {
        if (claim.agentTime.status === "exhausted")
          await ledger.noteRefusedTime({ workspaceId, runId, refusal: claim.agentTime });
        take(claim.agentTime);
      }
      expire();
    },
    async end() {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
      await bookings.settle().catch((error: unknown) => {
        deps.log.warn({ err: error, run_id: runId }, "the last booking of agent time is not known");
      });
      return Math.max(0, Math.floor(endsAtMs() - clock.monotonicMs()));
    },
  };
}
