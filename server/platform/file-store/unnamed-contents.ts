import { z } from "zod";
import type { Db } from "../db.ts";
import type { Logger } from "../log.ts";
import type { ObjectStore } from "./object-store.ts";

/** Far above the time from the count of a content to its name: sending it, and one transaction. */
const GRACE_MS = 3_600_000;
const PAGE = 2_000;
const REMOVE_AT_ONCE = 200;
/** So many failures in a row say that the store is away. Fewer are of single objects, which must not hold up the others. */
const FAILURES_IN_A_ROW = 10;

const pageSchema = z.object({
  taken_out: z.int(),
  next: z.object({ workspace_id: z.string(), sha256: z.string() }).nullable(),
});

async function takeOut(db: Db, graceMs: number): Promise<void> {
  await db.ledger({
    text: "SELECT collect_pending_contents($1 * interval '1 millisecond', $2)",
    values: [graceMs, PAGE],
  });
  let after = { workspace_id: "", sha256: "" };
  for (;;) {
    const [row] = await db.ledger<{ page: unknown }>({
      name: "collect_contents",
      text: "SELECT collect_contents($1, $2, $3 * interval '1 millisecond', $4) AS page",
      values: [after.workspace_id, after.sha256, graceMs, PAGE],
    });
    const { next } = pageSchema.parse(row?.page);
    if (next === null) return;
    after = next;
  }
}

type Removed = { workspace_id: string; object: string };

async function removeObjects({
  db,
  objects,
  log,
}: {
  db: Db;
  objects: ObjectStore;
  log: Logger;
}): Promise<number> {
  let removed = 0;
  for (;;) {
    const waiting = await db.ledger<Removed>({
      text: "SELECT workspace_id, object FROM list_removed_objects($1)",
      values: [REMOVE_AT_ONCE],
    });
    const gone: Removed[] = [];
    let failures = 0;
    for (const entry of waiting) {
      try {
        await objects.remove({ workspaceId: entry.workspace_id, object: entry.object });
        gone.push(entry);
        failures = 0;
      } catch (error) {
        log.warn({ err: error }, "contents that nothing names wait for the file store");
        failures += 1;
        if (failures === FAILURES_IN_A_ROW) break;
      }
    }
    if (gone.length > 0)
      await db.ledger({
        text: "SELECT forget_removed_objects($1)",
        values: [JSON.stringify(gone)],
      });
    removed += gone.length;
    if (gone.length === 0 || waiting.length < REMOVE_AT_ONCE) return removed;
  }
}

/**
 * Takes out the contents that nothing names any more and nobody has asked for within the grace, then removes their
 * objects. Safe in any number of processes, and beside whoever stores the same content: that one gets an object of
 * another name. -> how many objects were removed
 */
export async function removeUnnamedContents(deps: {
  db: Db;
  objects: ObjectStore;
  log: Logger;
  graceMs?: number;
}): Promise<number> {
  await takeOut(deps.db, deps.graceMs ?? GRACE_MS);
  return removeObjects(deps);
}
