import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";

/** Balances that one look goes through: 0.2 s on two cores that were fully loaded beside it. */
const BALANCES_PER_LOOK = 20_000;
const COUNT_EVERY_LOOKS = 60;

/** One alert of a limit above all workspaces. */
type TopAlert = Readonly<Record<string, unknown>>;

/**
 * Looks at limited balances and raises what they have reached, once each, whoever looks and how often. Nothing of this
 * is in the way of a call: spending writes its balance, and the next look finds it there.
 * -> how many alerts were raised in workspaces; undefined while another process looks
 */
export function createAlertJob(deps: {
  db: Db;
  log: Logger;
  /** What a workspace may store where nothing else was agreed; bytes, null is no quota. */
  storageQuotaBytes: number | null;
  balancesPerLook?: number;
}): () => Promise<number | undefined> {
  let looks = 0;
  return async function look() {
    const withCounts = looks++ % COUNT_EVERY_LOOKS === 0;
    const [found] = await deps.db.ledger<{ raised: number; top: readonly TopAlert[] }>({
      name: "raise_alerts",
      text: "SELECT raised, top FROM raise_alerts($1, $2, $3)",
      values: [deps.balancesPerLook ?? BALANCES_PER_LOOK, withCounts, deps.storageQuotaBytes],
    });
    for (const alert of found?.top ?? [])
      deps.log.warn({ alert }, "a limit above the workspaces reached a threshold");
    return found?.raised;
  };
}
