import { z } from "zod";
import type { Clock } from "../platform/clock.ts";
import type { Db } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import {
  createRequestHolder,
  type RequestAdmission,
  type RequestHolder,
} from "./request-holder.ts";
import { createRequestRefusals } from "./request-refusals.ts";
import type { LeaseAnswer, LeaseCall } from "./request-window.ts";

/** Counts the API requests of this process against their workspaces' limits. */
export type RequestLeases = {
  /**
   * Admits one request of the workspace, or refuses it. A refused one counts for nothing but the demand that alerts look
   * at. Throws when the database is away.
   */
  take(workspaceId: string): Promise<RequestAdmission>;
  /** Gives back what was leased and not used in its minute, and tells what was refused. */
  settle(): Promise<void>;
  /** Gives everything back; nothing may be taken afterwards. */
  close(): Promise<void>;
};

const leaseAnswer = z.discriminatedUnion("status", [
  z.object({
    status: z.literal("granted"),
    minute: z.int(),
    granted: z.int(),
    valid_ms: z.int(),
    limit: z.int().nullable(),
    left: z.int().nullable(),
    resets_ms: z.int(),
  }),
  z.object({
    status: z.literal("exhausted"),
    minute: z.int(),
    limit: z.int(),
    limit_version: z.int(),
    retry_after_ms: z.int(),
  }),
  z.object({ status: z.literal("reported"), minute: z.int() }),
  z.object({ status: z.literal("stale") }),
]);

/** One call of the database's `lease_requests`. */
export async function leaseRequests(
  db: Db,
  workspaceId: string,
  call: LeaseCall,
): Promise<LeaseAnswer> {
  const [row] = await db.ledger<{ answer: unknown }>({
    name: "ledger_lease_requests",
    text: "SELECT lease_requests($1, $2, $3, $4::jsonb, $5) AS answer",
    values: [workspaceId, call.nodeId, call.callNo, JSON.stringify(call.spent), call.wish],
  });
  const read = leaseAnswer.parse(row?.answer);
  switch (read.status) {
    case "granted": {
      const { valid_ms: validMs, resets_ms: resetsMs, ...rest } = read;
      return { ...rest, validMs, resetsMs };
    }
    case "exhausted": {
      const { retry_after_ms: retryAfterMs, limit_version: limitVersion, ...rest } = read;
      return { ...rest, limitVersion, retryAfterMs };
    }
    default:
      return read;
  }
}

type Entry = {
  holder: RequestHolder;
  /** One call at a time per workspace: those who come meanwhile share its answer. */
  pending: Promise<void> | undefined;
  waiting: number;
  usedAtMs: number;
};

/** A lease lasts a minute, so who waits in vain so often has lost to others at a limit that is nearly used up. */
const MOST_ASKS = 100;
/** Workspaces that were silent for so long are forgotten. */
const FORGET_AFTER_MS = 10 * 60_000;

type LeaseDeps = {
  db: Db;
  clock: Clock;
  /** Names this process in the database; a process that starts anew takes another one. */
  nodeId: string;
};

/** What was leased; nothing of what was refused. */
function createLeases(deps: LeaseDeps): RequestLeases {
  const { db, clock, nodeId } = deps;
  const entries = new Map<string, Entry>();
  let callNo = 0;

  async function call(workspaceId: string, entry: Entry, wish: number): Promise<void> {
    const sentAtMs = clock.monotonicMs();
    const ask = entry.holder.ask(wish);
    const answer = await leaseRequests(db, workspaceId, { ...ask, nodeId, callNo: ++callNo });
    entry.holder.answered(answer, sentAtMs);
  }

  function ask(workspaceId: string, entry: Entry, wish: number): Promise<void> {
    entry.pending ??= call(workspaceId, entry, wish).finally(() => {
      entry.pending = undefined;
    });
    return entry.pending;
  }

  function entryOf(workspaceId: string): Entry {
    const known = entries.get(workspaceId);
    if (known) return known;
    const entry: Entry = {
      holder: createRequestHolder(),
      pending: undefined,
      waiting: 0,
      usedAtMs: clock.monotonicMs(),
    };
    entries.set(workspaceId, entry);
    return entry;
  }

  async function takeWaiting(workspaceId: string, entry: Entry): Promise<RequestAdmission> {
    for (let asks = 0; asks < MOST_ASKS; asks++) {
      const admission = entry.holder.take(clock.monotonicMs());
      if (admission) return admission;
      await ask(workspaceId, entry, entry.waiting);
    }
    throw new AppError({
      code: "database_unavailable",
      status: 503,
      publicMessage: "The request could not be counted in time.",
      hint: "Try again in a few seconds; nothing was half done.",
      retryable: true,
      retryAfterMs: 2_000,
    });
  }

  async function giveBack(mayGiveBack: (entry: Entry) => boolean): Promise<void> {
    for (const [workspaceId, entry] of entries) {
      if (!entry.pending && mayGiveBack(entry)) await ask(workspaceId, entry, 0);
      const silentMs = clock.monotonicMs() - entry.usedAtMs;
      if (!entry.pending && silentMs > FORGET_AFTER_MS && !entry.holder.isOpen())
        entries.delete(workspaceId);
    }
  }

  return {
    async take(workspaceId) {
      const entry = entryOf(workspaceId);
      entry.usedAtMs = clock.monotonicMs();
      const admission = entry.holder.take(entry.usedAtMs);
      if (admission) return admission;
      entry.waiting++;
      try {
        return await takeWaiting(workspaceId, entry);
      } finally {
        entry.waiting--;
      }
    },
    settle: () => giveBack((entry) => entry.holder.isOverdue(clock.monotonicMs())),
    async close() {
      await Promise.allSettled([...entries.values()].flatMap((entry) => entry.pending ?? []));
      await giveBack((entry) => entry.holder.isOpen());
    },
  };
}

export function createRequestLeases(deps: LeaseDeps): RequestLeases {
  const leases = createLeases(deps);
  const refusals = createRequestRefusals(deps);
  return {
    async take(workspaceId) {
      const admission = await leases.take(workspaceId);
      if (admission.status === "exhausted") refusals.count(workspaceId, admission.refusedIn);
      return admission;
    },
    // What one of them could not do is no reason to leave the other undone.
    async settle() {
      try {
        await leases.settle();
      } finally {
        await refusals.tell();
      }
    },
    async close() {
      try {
        await leases.close();
      } finally {
        await refusals.tell();
      }
    },
  };
}
