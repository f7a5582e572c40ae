import { z } from "zod";
import { appendAudit, appendPlatformAudit } from "../audit/audit.ts";
import { type Statement, speakFor, type Tx, type WorkspaceTx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { planMeters } from "@guildhall/sdk/contract/plan.ts";
import { planLimits, type PlanMeter, type PlanName } from "./plans.ts";

// A workspace's own limit of a meter follows from its terms:
//   in force = the lesser of what it allows itself and (what was agreed, or else its plan's number, plus opted-in overage)
// Each change is one transaction in the database, which also writes the new version of the limit.

/** What a change of terms did to a limit. amount: nano-USD, milliseconds or a count, by meter; null is no limit. */
export type LimitChanged = {
  meter: PlanMeter;
  before: number | null;
  amount: number | null;
  version: number;
};

const changed = {
  meter: z.enum(planMeters),
  before: z.int().nullable(),
  amount: z.int().nullable(),
  version: z.int(),
};
const changes = z.array(z.object(changed));
const ownCapAnswer = z.discriminatedUnion("status", [
  z.object({ status: z.literal("set"), ...changed }),
  z.object({ status: z.literal("beyond_plan"), most: z.int() }),
]);
const overageAnswer = z.discriminatedUnion("status", [
  z.object({ status: z.literal("set"), ...changed }),
  z.object({ status: z.literal("nothing_included") }),
]);

async function answerOf(tx: Tx, text: string, values: Statement["values"]): Promise<unknown> {
  const [row] = await tx.query<{ answer: unknown }>({ text: `SELECT ${text} AS answer`, values });
  return row?.answer;
}

/** Puts a workspace on a plan, without an audit line: for who writes a larger one, as when the workspace is made. */
export async function applyPlan(
  tx: WorkspaceTx,
  change: { plan: PlanName; actor: string },
): Promise<LimitChanged[]> {
  const included = planLimits(change.plan).map(({ meter, amount }) => ({ meter, amount }));
  const values = [change.plan, JSON.stringify(included), change.actor];
  return changes.parse(await answerOf(tx, "set_plan($1, $2::jsonb, $3)", values));
}

/** The workspace that an operator names. -> its transaction and present plan */
async function requireWorkspace(tx: Tx, workspaceId: string) {
  const own = await speakFor(tx, workspaceId);
  const [row] = await own.query<{ plan: string }>({
    text: "SELECT plan FROM workspaces WHERE workspace_id = $1",
    values: [workspaceId],
  });
  if (row) return { own, plan: row.plan };
  throw new AppError({
    code: "workspace_not_found",
    status: 404,
    publicMessage: `There is no workspace ${workspaceId}.`,
    hint: "Ids of workspaces begin with ws_; `guildhall studio` shows them.",
  });
}

/**
 * Puts a workspace on another plan, all its limits in one step. Admissions use the new limits from the next one on; open
 * holds are honoured, what was used in this period stays used, and what was agreed, opted in to or set by the workspace
 * itself stays. Only from a platform transaction. Throws `workspace_not_found` (404).
 */
export async function setPlan(
  tx: Tx,
  change: { workspaceId: string; plan: PlanName; actor: string; origin: string },
): Promise<LimitChanged[]> {
  const { workspaceId, plan, actor, origin } = change;
  const { own, plan: before } = await requireWorkspace(tx, workspaceId);
  const limits = await applyPlan(own, { plan, actor });
  await appendAudit(own, {
    actor,
    origin,
    action: "plan.set",
    target: workspaceId,
    before,
    after: { plan, limits },
  });
  return limits;
}

/**
 * Agrees another number with a workspace than its plan's (null: no limit); "plan" takes that back. It stays when the plan
 * changes. Only from a platform transaction. Throws `workspace_not_found` (404).
 */
export async function setOverride(
  tx: Tx,
  change: {
    workspaceId: string;
    meter: PlanMeter;
    amount: number | null | "plan";
    actor: string;
    origin: string;
  },
): Promise<LimitChanged> {
  const { workspaceId, meter, amount, actor, origin } = change;
  const { own } = await requireWorkspace(tx, workspaceId);
  const values = [meter, amount === "plan" ? null : amount, amount === "plan", actor];
  const answer = await answerOf(own, "set_override($1, $2, $3, $4)", values);
  const limit = z.object(changed).parse(answer);
  await appendAudit(own, {
    actor,
    origin,
    action: "limit.agreed",
    target: `${meter}/workspace/${workspaceId}`,
    before: limit.before,
    after: { agreed: amount, inForce: limit.amount },
  });
  return limit;
}

/** What a workspace allows itself, never more than its plan and overage allow it; null is all of that. */
export async function setOwnCap(
  tx: WorkspaceTx,
  change: { meter: PlanMeter; amount: number | null; actor: string },
): Promise<z.infer<typeof ownCapAnswer>> {
  const values = [change.meter, change.amount, change.actor];
  return ownCapAnswer.parse(await answerOf(tx, "set_own_cap($1, $2, $3)", values));
}

/** How much beyond what is included a workspace is ready to pay for in a month; 0, as at first, is nothing. */
export async function setOverage(
  tx: WorkspaceTx,
  change: { meter: "model_cost" | "agent_time"; amount: number; actor: string },
): Promise<z.infer<typeof overageAnswer>> {
  const values = [change.meter, change.amount, change.actor];
  return overageAnswer.parse(await answerOf(tx, "set_overage($1, $2, $3)", values));
}

/**
 * The limit of a billing account, over all its workspaces together and in each month; null is none. Each of them gets an
 * audit line that says which version, and no hash of the amount: it tells of the others. Only from a platform transaction,
 * which then speaks for the last of them. Throws `billing_account_not_found` (404). -> the version
 */
export async function setAccountLimit(
  tx: Tx,
  change: {
    billingAccountId: string;
    meter: "model_cost" | "agent_time";
    amount: number | null;
    actor: string;
    origin: string;
  },
): Promise<number> {
  const { billingAccountId, meter, amount, actor, origin } = change;
  const [row] = await tx.query<{ version: number }>({
    text: "SELECT set_top_limit('owner', a.id, $2, $3, $4) AS version FROM billing_accounts a WHERE a.id = $1",
    values: [billingAccountId, meter, amount, actor],
  });
  if (row) {
    const owned = await tx.query<{ workspace_id: string }>({
      text: "SELECT workspace_id FROM workspaces WHERE billing_account_id = $1 ORDER BY workspace_id",
      values: [billingAccountId],
    });
    for (const { workspace_id: workspaceId } of owned)
      await appendPlatformAudit(tx, workspaceId, {
        actor,
        origin,
        action: "account_limit.set",
        target: `${meter}/owner/${billingAccountId}/v${row.version}`,
      });
    return row.version;
  }
  throw new AppError({
    code: "billing_account_not_found",
    status: 404,
    publicMessage: `There is no billing account ${billingAccountId}.`,
    hint: "Ids of billing accounts begin with ba_.",
  });
}
