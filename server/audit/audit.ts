import { sha256Hex } from "../platform/secret.ts";
import { speakFor, type Tx, type WorkspaceTx } from "../platform/db.ts";
import { canonicalJson } from "../platform/storable-json.ts";

/** One mutation, as the audit keeps it. */
export type AuditEntry = {
  /** Who: `user:usr_…`, `key:key_…` or `system`. */
  actor: string;
  /** What, as `<noun>.<past participle>`, for example `task.created`. */
  action: string;
  /** On what: the id of the changed thing. */
  target: string;
  /** From where: the address of the caller, or `local` for the program itself. */
  origin: string;
  /** The thing before and after; only hashes are kept, so that the audit holds no content to be erased later. */
  before?: unknown;
  after?: unknown;
};

const hashOf = (value: unknown): string | null =>
  value === undefined ? null : sha256Hex(JSON.stringify(canonicalJson(value)));

/** The arguments of the SQL function `append_audit`, for a statement that writes a line with what it tells of. */
export function auditArguments(entry: AuditEntry): (string | null)[] {
  const { actor, action, target, origin, before, after } = entry;
  return [actor, action, target, origin, hashOf(before), hashOf(after)];
}

/**
 * Writes an audit line in the caller's transaction and answers its number in the workspace's chain. The chain's head
 * stays locked until commit: call it last, so that the workspace's other mutations wait as short as possible.
 */
export async function appendAudit(tx: WorkspaceTx, entry: AuditEntry): Promise<number> {
  const rows = await tx.query<{ seq: number }>({
    name: "append_audit",
    text: "SELECT append_audit($1, $2, $3, $4, $5, $6) AS seq",
    values: auditArguments(entry),
  });
  return rows[0]?.seq ?? 0;
}

/**
 * The same from a platform transaction, for mutations that begin before a workspace is known (sign-in). From here on
 * the transaction speaks for this workspace.
 */
export async function appendPlatformAudit(
  tx: Tx,
  workspaceId: string,
  entry: AuditEntry,
): Promise<number> {
  return appendAudit(await speakFor(tx, workspaceId), entry);
}

/** `brokenAt` is the number of the first line that was changed, removed or added out of order. */
export type AuditVerdict = { ok: true; lines: number } | { ok: false; brokenAt: number };

/** Recomputes the workspace's chain from its first line: one changed byte anywhere is found. */
export async function verifyAudit(tx: WorkspaceTx): Promise<AuditVerdict> {
  const [verdict] = await tx.query<{ lines: number; broken_at: number | null }>({
    text: "SELECT lines, broken_at FROM verify_audit()",
    values: [],
  });
  if (verdict?.broken_at === null) return { ok: true, lines: verdict.lines };
  return { ok: false, brokenAt: verdict?.broken_at ?? 0 };
}
