import { createHash } from "node:crypto";
import type { Db } from "../db.ts";

/** A payload that fits no schema, as it was put away. */
export type DeadWakeRow = {
  /** `postgres`, `redis` or `outbox`. */
  source: string;
  /** Its first 2,000 characters. */
  payload: string;
  reason: string;
  /** How often it came. */
  times: number;
  first_at: Date;
  last_at: Date;
};

const KEPT_DAYS = 30;
/** Whoever floods the bell with nonsense must not fill the database. */
const KEPT_AT_MOST = 1_000;

/** Text of Postgres holds no zero byte. */
const storable = (text: string): string => text.replaceAll("\0", "\u{fffd}").toWellFormed();

/** How much of a payload is kept. */
export const KEPT_CHARS = 2_000;

/** Puts its beginning away, or counts it once more. */
export async function keepDeadWake(
  db: Db,
  dead: { source: string; payload: string; reason: string },
): Promise<void> {
  const payload = storable(dead.payload.slice(0, KEPT_CHARS));
  const hash = createHash("sha256").update(payload).digest("hex");
  await db.withPlatform((tx) =>
    tx.query({
      text: `INSERT INTO dead_wakes AS d (source, payload_hash, payload, reason)
             SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM dead_wakes) < ${KEPT_AT_MOST}
               OR EXISTS (SELECT 1 FROM dead_wakes WHERE source = $1 AND payload_hash = $2)
             ON CONFLICT (source, payload_hash) DO UPDATE SET times = d.times + 1, last_at = clock_now(), reason = excluded.reason`,
      values: [dead.source, hash, payload, storable(dead.reason)],
    }),
  );
}

/** The newest first. */
export function listDeadWakes(db: Db, atMost: number): Promise<DeadWakeRow[]> {
  return db.withPlatform((tx) =>
    tx.query<DeadWakeRow>({
      text: "SELECT source, payload, reason, times, first_at, last_at FROM dead_wakes ORDER BY last_at DESC LIMIT $1",
      values: [atMost],
    }),
  );
}

/** Forgets those that did not come again for a month. */
export async function forgetOldDeadWakes(db: Db): Promise<void> {
  await db.withPlatform((tx) =>
    tx.query({
      text: `DELETE FROM dead_wakes WHERE last_at < clock_now() - interval '${KEPT_DAYS} days'`,
      values: [],
    }),
  );
}
