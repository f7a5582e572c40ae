import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { RunRecord } from "../../runtimes/runtime.ts";
import { upsertArtifact } from "./run-artifacts.ts";
import type { Claim } from "./run-claims.ts";
import { createRunEvents } from "./run-events.ts";
import type { Captured, FolderState } from "./run-folder-state.ts";
import { fenced, StaleAttempt, whenReachable } from "./run-fence.ts";
import type { RunLease } from "./run-lease.ts";
import { recordSnapshot, type SnapshotChange } from "./run-snapshot.ts";
import { appendRunEvents, loadSteps, readPostedNanoUsd, recordStep } from "./run-steps.ts";

/** At most one event of streamed text in this time. */
const TEXT_INTERVAL_MS = 150;

/** What cannot be kept now and will not be a moment later. */
const NO_ROOM = new Set(["storage_quota_exceeded", "storage_full", "file_too_large"]);

const isUnchanged = ({ changed, removed }: SnapshotChange): boolean =>
  changed.length === 0 && removed.length === 0;

export type RunRecordDeps = {
  db: Db;
  /** Of the run's folder. */
  state: FolderState;
  claim: Claim;
  lease: RunLease;
  /** Events of the task are in the database. */
  onEvents?(taskId: string): void;
  log: Logger;
};

/** The durable side of one attempt: everything is fenced by its epoch in the database and by its local deadline. */
export function createRunRecord(
  deps: RunRecordDeps,
): RunRecord & { flush(): Promise<void>; close(): void } {
  const { db, state, claim, lease, log } = deps;

  /** One fenced transaction; `work` says false when the attempt is stale. */
  async function write(work: (tx: WorkspaceTx) => Promise<boolean>): Promise<void> {
    await fenced(deps, async (tx) => {
      if (!(await work(tx))) throw new StaleAttempt();
    });
    deps.onEvents?.(claim.taskId);
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

  /** What the last tool left, until its step is stored. */
  let kept: Captured | undefined;

  const keepFiles: RunRecord["keepFiles"] = () =>
    whenReachable(lease, async () => {
      try {
        kept = await state.capture();
        return undefined;
      } catch (error) {
        if (!(error instanceof AppError) || !NO_ROOM.has(error.code)) throw error;
        await state.rollBack();
        return error;
      }
    });

  const saveStep: RunRecord["saveStep"] = async ({ step, events: ofStep, wrote }) => {
    // Nothing has run since the last step when a tool begins.
    const isBeginning = step.state === "started" && step.body.parked !== true;
    const captured =
      kept ?? (isBeginning ? undefined : await whenReachable(lease, () => state.capture()));
    kept = undefined;
    const waiting = await events.take();
    await whenReachable(lease, () =>
      write(async (tx) => {
        const all: EventBody[] = [...waiting, ...ofStep];
        const file = wrote === undefined ? undefined : captured?.state.get(wrote.path);
        if (file !== undefined && file.sha256 !== null) {
          const written = { path: file.path, sizeBytes: file.sizeBytes, sha256: file.sha256 };
          all.push({ type: "artifact.written", data: await upsertArtifact(tx, claim, written) });
        }
        if (!(await recordStep(tx, claim, { step, events: all }))) return false;
        if (captured === undefined || isUnchanged(captured)) return true;
        return recordSnapshot(tx, claim, { stepNo: step.stepNo, ...captured });
      }),
    );
    if (captured !== undefined) state.recorded(captured);
  };

  return {
    keepFiles,
    saveStep,
    loadSteps: () => whenReachable(lease, () => loadSteps(db, claim)),
    postedNanoUsd: (holdId) => whenReachable(lease, () => readPostedNanoUsd(db, claim, holdId)),
    emit: events.push,
    emitText: events.pushText,
    flush: events.flush,
    close: events.close,
  };
}
