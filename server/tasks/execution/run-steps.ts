import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import { storableJson } from "../../platform/storable-json.ts";
import { stepSchema, type Step } from "../../runtimes/step.ts";
import type { Claim } from "./run-claims.ts";

type StepRow = { kind: string; step_no: number; state: string; body: unknown };

/** The steps of a run in order, whoever made them. */
export function loadSteps(db: Db, claim: Claim): Promise<Step[]> {
  return db.withWorkspace(claim.workspaceId, async (tx) => {
    const rows = await tx.query<StepRow>({
      text: "SELECT kind, step_no, state, body FROM steps WHERE workspace_id = $1 AND run_id = $2 ORDER BY step_no",
      values: [claim.workspaceId, claim.runId],
    });
    return rows.map(({ step_no: stepNo, ...row }) => stepSchema.parse({ ...row, stepNo }));
  });
}

/** -> false when the attempt is stale, and then nothing was written */
export async function appendRunEvents(
  tx: WorkspaceTx,
  claim: Claim,
  events: readonly EventBody[],
): Promise<boolean> {
  const [row] = await tx.query<{ last_seq: number | null }>({
    name: "append_run_events",
    text: "SELECT append_run_events($1, $2, $3) AS last_seq",
    values: [claim.runId, claim.epoch, storableJson(events)],
  });
  return typeof row?.last_seq === "number";
}

/** Stores a step and the events that tell of it. -> false when the attempt is stale, and then nothing was written */
export async function recordStep(
  tx: WorkspaceTx,
  claim: Claim,
  { step, events }: { step: Step; events: readonly EventBody[] },
): Promise<boolean> {
  const [row] = await tx.query<{ answer: "stored" | "repeated" | "stale" }>({
    name: "record_step",
    text: "SELECT record_step($1, $2, $3, $4, $5, $6, $7) AS answer",
    values: [
      claim.runId,
      claim.epoch,
      step.stepNo,
      step.kind,
      step.state,
      storableJson(step.body),
      storableJson(events),
    ],
  });
  return row?.answer === "stored" || row?.answer === "repeated";
}

/** What was posted for a hold, nano-USD; 0 when there is none. */
export function readPostedNanoUsd(db: Db, claim: Claim, holdId: string): Promise<number> {
  return db.withWorkspace(claim.workspaceId, async (tx) => {
    const [row] = await tx.query<{ posted: number | null }>({
      text: "SELECT posted FROM holds WHERE workspace_id = $1 AND id = $2",
      values: [claim.workspaceId, holdId],
    });
    return row?.posted ?? 0;
  });
}
