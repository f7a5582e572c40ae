import type { Clock } from "../platform/clock.ts";
import type { Db } from "../platform/db.ts";

/** Rows that one statement tells. */
const AT_ONCE = 1_000;
/** What was refused in a minute of the database is told to its end; after so long nothing is added to it any more. */
const KEEP_MS = 3 * 60_000;

type Count = {
  workspaceId: string;
  minute: number;
  limitVersion: number;
  refused: number;
  told: number;
  sinceMs: number;
};

/**
 * How many API requests this process has refused, for the demand that alerts look at. A refused request costs an addition
 * here and no statement, or whoever is refused could keep the database busy; what was counted is told from time to time,
 * each minute's sum again as long as it grows, so that an answer that is lost counts nothing twice.
 */
export function createRequestRefusals(deps: { db: Db; clock: Clock; nodeId: string }) {
  const { db, clock, nodeId } = deps;
  const counts = new Map<string, Count>();

  async function tellSome(some: readonly Count[]): Promise<void> {
    const noted = some.map(({ workspaceId, minute, limitVersion, refused }) => ({
      workspace_id: workspaceId,
      minute,
      limit_version: limitVersion,
      refused,
    }));
    const told = some.map(({ refused }) => refused);
    await db.ledger({
      name: "note_refused_requests",
      text: "SELECT note_refused_requests($1, $2::jsonb)",
      values: [nodeId, JSON.stringify(noted)],
    });
    for (const [n, count] of some.entries()) count.told = told[n] ?? 0;
  }

  return {
    count(workspaceId: string, refusedIn: { minute: number; limitVersion: number }): void {
      const { minute, limitVersion } = refusedIn;
      const key = `${workspaceId}/${minute}/${limitVersion}`;
      const known = counts.get(key);
      if (known) known.refused++;
      else {
        const sinceMs = clock.monotonicMs();
        counts.set(key, { workspaceId, minute, limitVersion, refused: 1, told: 0, sinceMs });
      }
    },
    /** Tells what was counted since the last time. What could not be told is told with the next. */
    async tell(): Promise<void> {
      const grown = [...counts.values()].filter(({ refused, told }) => refused > told);
      for (let from = 0; from < grown.length; from += AT_ONCE)
        await tellSome(grown.slice(from, from + AT_ONCE));
      for (const [key, { refused, told, sinceMs }] of counts)
        if (refused === told && clock.monotonicMs() - sinceMs > KEEP_MS) counts.delete(key);
    },
  };
}
