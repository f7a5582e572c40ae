/**
 * The rule of `api_requests` as a pure function: never more than the limit in any 60 minutes. The database's function
 * `lease_requests` (migrations/0008_meters.sql) decides the same; a test holds the two together.
 *
 * Requests are counted in buckets of one minute of the database's clock. Nodes are given blocks to spend ahead, so that
 * not every request costs a round trip, and spend each within the minute that it was given in. What was given in the
 * present minute and the 60 before it is at most the limit, so what is spent in any 60 minutes is, too: their first
 * minute is still among these 61.
 */

const MINUTE_MS = 60_000;
/** Whole minutes before the present one that still count. */
const MINUTES_BEFORE = 60;
/** A node that was given nothing for so many minutes is not counted among those who share. */
const SHARING_MINUTES = 5;
/** What one block serves where there is no limit; requests are counted there, too. */
const UNLIMITED_BLOCK = 50;

/** What one node was given in one minute. */
export type Lease = {
  minute: number;
  nodeId: string;
  granted: number;
  spent: number;
  /** The number of the node's last call that changed this. */
  callNo: number;
};

export type LeaseCall = {
  nodeId: string;
  /** Grows with each call of the node, so that one that was given up and arrives late changes nothing. */
  callNo: number;
  /**
   * What the node has spent, by the minute of the lease, as far as it was not told before. It spends no more of what it
   * was given by now; of a lease that it does not name here it spent no more than it said before.
   */
  spent: readonly { minute: number; spent: number }[];
  /** How many requests wait for a lease; 0 only reports. */
  wish: number;
};

export type LeaseAnswer =
  | {
      status: "granted";
      minute: number;
      granted: number;
      /** How long, from the moment of the answer, the lease may be spent. */
      validMs: number;
      /** null is no limit. */
      limit: number | null;
      /** What is left to be leased; null without a limit. */
      left: number | null;
      /** When the oldest minute that counts no longer does. */
      resetsMs: number;
    }
  | {
      status: "exhausted";
      minute: number;
      limit: number;
      /** Which version of the limit refused. */
      limitVersion: number;
      retryAfterMs: number;
    }
  | { status: "reported"; minute: number }
  | { status: "stale" };

/** What the node did not spend is no longer leased. Minutes that can count no more are forgotten. */
function afterReports(leases: readonly Lease[], call: LeaseCall, thisMinute: number): Lease[] {
  return leases
    .filter((lease) => lease.minute >= thisMinute - 2 * MINUTES_BEFORE)
    .map((lease) => {
      if (lease.nodeId !== call.nodeId) return lease;
      const report = call.spent.find((item) => item.minute === lease.minute);
      const spent = Math.min(lease.granted, report?.spent ?? lease.spent);
      if (spent === lease.granted && spent === lease.spent) return lease;
      return { ...lease, granted: spent, spent, callNo: call.callNo };
    });
}

/** When so much has aged out that one more request fits. */
function retryAfterMs(counted: readonly Lease[], limit: number, nowMs: number): number {
  let excess = counted.reduce((sum, lease) => sum + lease.granted, 0) - limit;
  for (const lease of counted.toSorted((a, b) => a.minute - b.minute)) {
    excess -= lease.granted;
    if (excess < 0) return (lease.minute + MINUTES_BEFORE + 1) * MINUTE_MS - nowMs;
  }
  return MINUTES_BEFORE * MINUTE_MS;
}

function blockOf(nodes: number, limit: number | null, rest: number): number {
  if (limit === null) return UNLIMITED_BLOCK;
  const share = Math.min(Math.floor(limit / (20 * nodes)), Math.floor(rest / (2 * nodes)));
  return Math.max(1, share);
}

/** One call of a node. `limit` is the limit in force, null for none, and its version; `nowMs` the database's clock. */
export function lease(
  leases: readonly Lease[],
  call: LeaseCall,
  at: { limit: number | null; limitVersion: number; nowMs: number },
): { leases: readonly Lease[]; answer: LeaseAnswer } {
  const { limit, limitVersion, nowMs } = at;
  const thisMinute = Math.floor(nowMs / MINUTE_MS);
  if (leases.some((item) => item.nodeId === call.nodeId && item.callNo >= call.callNo))
    return { leases, answer: { status: "stale" } };
  const kept = afterReports(leases, call, thisMinute);
  if (call.wish === 0) return { leases: kept, answer: { status: "reported", minute: thisMinute } };

  const counted = kept.filter((item) => item.minute >= thisMinute - MINUTES_BEFORE);
  const given = counted.reduce((sum, item) => sum + item.granted, 0);
  const rest = limit === null ? Number.POSITIVE_INFINITY : limit - given;
  if (limit !== null && rest <= 0)
    return {
      leases: kept,
      answer: {
        status: "exhausted",
        minute: thisMinute,
        limit,
        limitVersion,
        retryAfterMs: retryAfterMs(counted, limit, nowMs),
      },
    };
  const sharing = new Set(
    counted
      .filter((item) => item.minute > thisMinute - SHARING_MINUTES)
      .map((item) => item.nodeId)
      .concat(call.nodeId),
  );
  const granted = Math.min(rest, Math.max(call.wish, blockOf(sharing.size, limit, rest)));
  const isMine = (item: Lease) => item.minute === thisMinute && item.nodeId === call.nodeId;
  const mine = kept.find(isMine) ?? { granted: 0, spent: 0 };
  const changed: Lease = {
    minute: thisMinute,
    nodeId: call.nodeId,
    granted: mine.granted + granted,
    spent: mine.spent,
    callNo: call.callNo,
  };
  const first = counted.filter((item) => item.granted > 0).map((item) => item.minute);
  return {
    leases: [...kept.filter((item) => !isMine(item)), changed],
    answer: {
      status: "granted",
      minute: thisMinute,
      granted,
      validMs: (thisMinute + 1) * MINUTE_MS - nowMs,
      limit,
      left: limit === null ? null : rest - granted,
      resetsMs: (Math.min(thisMinute, ...first) + MINUTES_BEFORE + 1) * MINUTE_MS - nowMs,
    },
  };
}
