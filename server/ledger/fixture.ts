import type pg from "pg";
import { newId, newSecret } from "../platform/ids.ts";
import { sha256Hex } from "../platform/secret.ts";
import type { ClaimedRun } from "../test/tenant.ts";
import type { KeySpender, ReserveRequest, RunSpender } from "./calls.ts";

/** The run's attempt as the ledger is told of it. */
export function spenderOf(run: ClaimedRun): RunSpender {
  const { workspaceId, runId, epoch, tokenHash } = run;
  return { kind: "run", workspaceId, runId, epoch, tokenHash };
}

/** A key of the workspace that may call models, as the ledger is told of it. */
export async function createKeySpender(
  admin: pg.Client,
  tenant: { workspaceId: string; userId: string },
): Promise<KeySpender> {
  const apiKeyId = newId("key");
  const secretHash = sha256Hex(newSecret());
  await admin.query(
    `INSERT INTO api_keys (workspace_id, id, name, secret_hash, scopes, created_by) VALUES ($1, $2, 'test', $3, '{models:invoke}', $4)`,
    [tenant.workspaceId, apiKeyId, secretHash, tenant.userId],
  );
  return { kind: "api_key", workspaceId: tenant.workspaceId, apiKeyId, secretHash };
}

/** A request of 100 nano-USD of input and 10 output tokens at 10 nano-USD: 200 in all, 110 at the least. */
export function request(run: ClaimedRun, changes: Partial<ReserveRequest> = {}): ReserveRequest {
  return {
    spender: spenderOf(run),
    holdId: newId("hold"),
    attemptNo: 1,
    model: "model-x",
    priceVersion: "p1",
    inputNanoUsd: 100,
    outputNanoUsdPerToken: 10,
    maxTokens: 10,
    minTokens: 1,
    dispatch: true,
    ...changes,
  };
}

export type Balance = { posted: number; held: number; limit: number | null; version: number };

/** The balance of one level in its newest period; zeros when nothing was booked there. */
export async function balanceOf(
  admin: pg.Client,
  account: { workspaceId: string; level: string; scopeId: string; meter?: string },
): Promise<Balance> {
  const found = await admin.query<{
    posted: string;
    held: string;
    amount: string | null;
    version: number;
  }>(
    `SELECT posted, held, limit_amount AS amount, limit_version AS version FROM budgets
     WHERE workspace_id = $1 AND level = $2 AND scope_id = $3 AND meter = $4`,
    [account.workspaceId, account.level, account.scopeId, account.meter ?? "model_cost"],
  );
  const row = found.rows[0];
  if (!row) return { posted: 0, held: 0, limit: null, version: 0 };
  return {
    posted: Number(row.posted),
    held: Number(row.held),
    limit: row.amount === null ? null : Number(row.amount),
    version: row.version,
  };
}
