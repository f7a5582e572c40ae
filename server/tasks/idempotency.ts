import type { Db, WorkspaceTx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { faultPoint } from "../platform/fault-points.ts";
import { validationFailed } from "../platform/http-errors.ts";
import { sha256Hex } from "../platform/secret.ts";
import { canonicalJson } from "../platform/storable-json.ts";
import { untilFewer } from "../platform/until-fewer.ts";
import type { Caller } from "./caller.ts";

/** A POST that may be repeated without a second effect. Scoped to who sent it and to the route. */
export type IdempotentRequest = {
  caller: Caller;
  /** For example `POST /v1/tasks`. */
  route: string;
  /** Without a key the request is done each time it comes. */
  key: string | undefined;
  /** The request as it was understood; the same key with another body is a mistake of the caller. */
  body: unknown;
};
export type Idempotent<Answer> = { answer: Answer; replayed: boolean };

/** Another transaction stored its answer under this key while ours worked; ours is rolled back. */
class StoredMeanwhile extends Error {}

/** The value of `Idempotency-Key`: 1 to 255 visible ASCII characters. Throws `validation_failed` (400). */
export function parseIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header === "string" && /^[\x21-\x7e]{1,255}$/.test(header)) return header;
  throw validationFailed([
    { field: "idempotency-key", message: "must be 1 to 255 visible ASCII characters" },
  ]);
}

function keyReused(): AppError {
  return new AppError({
    code: "idempotency_key_reused",
    status: 422,
    publicMessage: "This Idempotency-Key was used before with another body.",
    hint: "Use a new key for a new request; repeat an old key only with its own body.",
    fields: [{ field: "idempotency-key", message: "was used with another body" }],
  });
}

/**
 * Does `work` once per key. The answer is stored in the transaction of the work, so either both exist or neither; of
 * two requests that come at once the second waits for the first at the unique key, is rolled back and answers the same.
 * Answers are kept for at least a day. Throws `idempotency_key_reused` (422).
 */
export async function once<Answer>(
  db: Db,
  request: IdempotentRequest,
  work: (tx: WorkspaceTx) => Promise<Answer>,
): Promise<Idempotent<Answer>> {
  const { caller, route, key } = request;
  if (key === undefined) {
    return { answer: await db.withWorkspace(caller.workspaceId, work), replayed: false };
  }
  const hash = sha256Hex(JSON.stringify(canonicalJson(request.body)));

  async function attempt(tx: WorkspaceTx): Promise<Idempotent<Answer>> {
    const [stored] = await tx.query<{ request_hash: string; response: Answer }>({
      name: "idempotent_answer",
      text: "SELECT request_hash, response FROM idempotency_keys WHERE workspace_id = current_workspace() AND principal = $1 AND route = $2 AND key = $3",
      values: [caller.actor, route, key],
    });
    if (stored && stored.request_hash !== hash) throw keyReused();
    if (stored) return { answer: stored.response, replayed: true };
    const answer = await work(tx);
    const kept = await tx.query({
      name: "store_idempotent_answer",
      text: `INSERT INTO idempotency_keys (workspace_id, principal, route, key, request_hash, status, response)
        VALUES (current_workspace(), $1, $2, $3, $4, 201, $5) ON CONFLICT DO NOTHING RETURNING true AS kept`,
      values: [caller.actor, route, key, hash, JSON.stringify(answer)],
    });
    if (kept.length === 0) throw new StoredMeanwhile();
    faultPoint("answer.stored");
    return { answer, replayed: false };
  }

  try {
    return await db.withWorkspace(caller.workspaceId, attempt);
  } catch (error) {
    if (!(error instanceof StoredMeanwhile)) throw error;
    return db.withWorkspace(caller.workspaceId, attempt);
  }
}

/** One statement's worth: an hour's answers of a busy installation do not fit into the time that a statement has. */
const FORGET_AT_ONCE = 10_000;

/** Forgets answers that are older than a day. -> how many */
export function forgetOldAnswers(db: Db): Promise<number> {
  return untilFewer({ atMost: FORGET_AT_ONCE, times: Infinity }, () =>
    db.withPlatform(async (tx) => {
      const rows = await tx.query({
        text: `DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys WHERE created_at < clock_now() - interval '1 day' ORDER BY created_at LIMIT $1))
          RETURNING true AS gone`,
        values: [FORGET_AT_ONCE],
      });
      return rows.length;
    }),
  );
}
