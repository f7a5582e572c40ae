import type { Tx } from "../platform/db.ts";
import { newId, newSecret } from "../platform/ids.ts";
import { deriveSecret, Secret, sha256Hex } from "../platform/secret.ts";

/** A family ends after this long, however often it was rotated. */
export const SESSION_MS = 7 * 24 * 3_600_000;
/** A browser that lost the answer, or two tabs that ask at once, are not thieves. */
const GRACE_MS = 10_000;
/** Rotations that fit into the grace; more is a loop, not a browser. */
const MAX_CHAIN = 64;

export type RefreshToken = { secret: string; userId: string; familyId: string; endsInMs: number };
export type RotateOutcome =
  | { status: "rotated"; token: RefreshToken }
  | { status: "ended" }
  | { status: "reused"; userId: string; familyId: string };

type Row = {
  family_id: string;
  user_id: string;
  replaced: boolean;
  in_grace: boolean;
  over: boolean;
  ends_in_ms: number;
};

export type RefreshTokens = {
  /** Begins a session. */
  start(tx: Tx, userId: string): Promise<RefreshToken>;
  /**
   * Replaces a token by its successor. Within 10 s of its replacement it answers the newest token of the family again;
   * later it is reuse: somebody has a copy, and the caller must revoke the family.
   */
  rotate(tx: Tx, secret: string): Promise<RotateOutcome>;
  /** Whose session a token belongs to, also when the token was replaced; undefined once the session is over. */
  find(tx: Tx, secret: string): Promise<{ userId: string; familyId: string } | undefined>;
  revoke(tx: Tx, familyId: string): Promise<void>;
};

/**
 * Rotating refresh tokens (RFC 9700 section 4.14). Only hashes are stored, so a successor cannot be read back to answer
 * it twice; therefore it is derived from its predecessor with a key that only the server has.
 */
export function createRefreshTokens(options: { rootSecret: Secret }): RefreshTokens {
  const key = new Secret(deriveSecret(options.rootSecret, "refresh-token"));
  const successorOf = (secret: string): string => deriveSecret(key, secret);

  async function read(tx: Tx, secret: string): Promise<Row | undefined> {
    const [row] = await tx.query<Row>({
      text: `SELECT family_id, user_id, replaced_at IS NOT NULL AS replaced,
          coalesce(replaced_at > clock_now() - $2 * interval '1 millisecond', false) AS in_grace,
          revoked_at IS NOT NULL OR expires_at <= clock_now() AS over,
          floor(extract(epoch FROM expires_at - clock_now()) * 1000)::bigint AS ends_in_ms
        FROM refresh_tokens WHERE token_hash = $1 FOR UPDATE`,
      values: [sha256Hex(secret), GRACE_MS],
    });
    return row;
  }

  async function replace(tx: Tx, secret: string): Promise<string> {
    const successor = successorOf(secret);
    await tx.query({
      text: `WITH replaced AS (UPDATE refresh_tokens SET replaced_at = clock_now() WHERE token_hash = $1 RETURNING family_id, user_id, expires_at)
        INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at) SELECT $2, family_id, user_id, expires_at FROM replaced`,
      values: [sha256Hex(secret), sha256Hex(successor)],
    });
    return successor;
  }

  async function start(tx: Tx, userId: string): Promise<RefreshToken> {
    const secret = newSecret();
    const familyId = newId("fam");
    // Families that ended are of no use to anybody; this is where the table is kept small.
    await tx.query({
      text: "DELETE FROM refresh_tokens WHERE user_id = $1 AND expires_at < clock_now()",
      values: [userId],
    });
    await tx.query({
      text: "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at) VALUES ($1, $2, $3, clock_now() + $4 * interval '1 millisecond')",
      values: [sha256Hex(secret), familyId, userId, SESSION_MS],
    });
    return { secret, userId, familyId, endsInMs: SESSION_MS };
  }

  async function rotate(tx: Tx, presented: string): Promise<RotateOutcome> {
    const row = await read(tx, presented);
    if (!row || row.over) return { status: "ended" };
    const owner = { userId: row.user_id, familyId: row.family_id, endsInMs: row.ends_in_ms };
    if (!row.replaced) {
      return { status: "rotated", token: { ...owner, secret: await replace(tx, presented) } };
    }
    if (!row.in_grace) return { status: "reused", ...owner };
    let secret = successorOf(presented);
    for (let n = 0; n < MAX_CHAIN; n++) {
      const next = await read(tx, secret);
      if (!next) break;
      if (!next.replaced) return { status: "rotated", token: { ...owner, secret } };
      secret = successorOf(secret);
    }
    return { status: "ended" };
  }

  return {
    start,
    rotate,
    async find(tx, secret) {
      const row = await read(tx, secret);
      return row && !row.over ? { userId: row.user_id, familyId: row.family_id } : undefined;
    },
    async revoke(tx, familyId) {
      await tx.query({
        text: "UPDATE refresh_tokens SET revoked_at = coalesce(revoked_at, clock_now()) WHERE family_id = $1",
        values: [familyId],
      });
    },
  };
}
