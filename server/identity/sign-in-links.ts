import type { Db, Tx } from "../platform/db.ts";
import { newSecret } from "../platform/ids.ts";
import { sha256Hex } from "../platform/secret.ts";

export const SIGN_IN_LINK_MS = 10 * 60_000;

/**
 * A one-time sign-in link of a user: the token belongs behind `#token=` of the page's address, where no server and no
 * referrer sees it. It ends the user's earlier links, so at most one is open.
 */
export async function createSignInLink(
  db: Db,
  userId: string,
): Promise<{ token: string; validForMs: number }> {
  const token = newSecret();
  await db.withPlatform(async (tx) => {
    await tx.query({ text: "DELETE FROM sign_in_links WHERE user_id = $1", values: [userId] });
    await tx.query({
      text: "INSERT INTO sign_in_links (token_hash, user_id, expires_at) VALUES ($1, $2, clock_now() + $3 * interval '1 millisecond')",
      values: [sha256Hex(token), userId, SIGN_IN_LINK_MS],
    });
  });
  return { token, validForMs: SIGN_IN_LINK_MS };
}

/** Uses a link up; of two that come at once, one gets undefined. */
export async function takeSignInLink(tx: Tx, token: string): Promise<string | undefined> {
  const [row] = await tx.query<{ user_id: string }>({
    text: "UPDATE sign_in_links SET used_at = clock_now() WHERE token_hash = $1 AND used_at IS NULL AND expires_at > clock_now() RETURNING user_id",
    values: [sha256Hex(token)],
  });
  return row?.user_id;
}
