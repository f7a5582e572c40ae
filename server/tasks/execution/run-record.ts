import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import type { Logger } from "../../platform/log.ts";
import type { RunRecord } from "../../runtimes/runtime.ts";
import type { RunFolder } from "../../tools/run-folder.ts";
import { storeWrittenFile, upsertArtifact } from "./run-artifacts.ts";
import type { Claim } from "./run-claims.ts";
import { createRunEvents } from "./run-events.ts";
import { fenced, StaleAttempt, whenReachable } from "./run-fence.ts";
import type { RunLease } from "./run-lease.ts";
import { appendRunEvents, loadSteps, readPostedNanoUsd, recordStep } from "./run-steps.ts";

/** At most one event of streamed text in this time. */
const TEXT_INTERVAL_MS = 150;

export type RunRecordDeps = {
  db: Db;
  files: FileStore;
  folder: RunFolder;
  maxFileBytes: number;
  claim: Claim;
  lease: RunLease;
  log: Logger;
};

/** The durable side of one attempt: everything is fenced by its epoch in the database and by its local deadline. */
export function createRunRecord(
  deps: RunRecordDeps,
): RunRecord & { flush(): Promise<void>; close(): void } {
  const { db, claim, lease, log } = deps;

  /** One fenced transaction; `work` says false when the attempt is stale. */
  function write(work: (tx: WorkspaceTx) => Promise<boolean>): Promise<void> {
    return fenced(deps, async (tx) => {
      if (!(await work(tx))) throw new StaleAttempt();
    });
  }

  async function writeEvents(batch: readonly EventBody[]): Promise<void> {
    try {
      await write((tx) => appendRunEvents(tx, claim, batch));
    } catch (error) {
      // A stopped run says nothing more; and a lost piece of text is in the answer's own event again.
      if (!lease.signal.aborted)
        log.warn({ err: error, run_id: claim.runId }, "events of a run were not written");
    }
  }
  const events = createRunEvents({ intervalMs: TEXT_INTERVAL_MS, write: writeEvents });

  const saveStep: RunRecord["saveStep"] = async ({ step, events: ofStep, wrote }) => {
    const file =
      wrote === undefined
        ? undefined
        : {
            path: wrote.path,
            ...(await storeWrittenFile(
              { ...deps, maxBytes: deps.maxFileBytes },
              { workspaceId: claim.workspaceId, path: wrote.path },
            )),
          };
    const waiting = await events.take();
    await whenReachable(lease, () =>
      write(async (tx) => {
        const all: EventBody[] = [...waiting, ...ofStep];
        if (file !== undefined)
          all.push({ type: "artifact.written", data: await upsertArtifact(tx, claim, file) });
        return recordStep(tx, claim, { step, events: all });
      }),
    );
  };

  return {
    saveStep,
    loadSteps: () => whenReachable(lease, () => loadSteps(db, claim)),
    postedNanoUsd: (holdId) => whenReachable(lease, () => readPostedNanoUsd(db, claim, holdId)),
    emit: events.push,
    emitText: events.pushText,
    flush: events.flush,
    close: events.close,
  };
}
