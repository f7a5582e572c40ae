import { type Role, roles } from "@guildhall/sdk/contract/workspace.ts";
import { z } from "zod";
import type { Clock } from "../platform/clock.ts";
import type { Db, Tx } from "../platform/db.ts";
import type { Notices } from "../platform/notices.ts";
import { membersExhausted } from "./errors.ts";
import { createFreshCache } from "./fresh-cache.ts";

export type Membership = { workspaceId: string; role: Role; sessionVersion: number };

/** How long a removal or a new role in another process may go unnoticed; the promise is 5 s. */
export const CACHE_MS = 2_000;
const CACHE_ENTRIES = 10_000;

export type Members = {
  /** The membership as it is now (at most 2 s old), or undefined when the user does not belong to the workspace. */
  find(workspaceId: string, userId: string): Promise<Membership | undefined>;
  /** Forgets what was remembered, here and in the other processes, after a change was committed. */
  forget(): void;
};

export function createMembers(options: {
  db: Db;
  clock: Clock;
  notices?: Pick<Notices, "on" | "ring">;
}): Members {
  const { notices } = options;
  const cache = createFreshCache<Membership>({
    clock: options.clock,
    ttlMs: CACHE_MS,
    maxEntries: CACHE_ENTRIES,
  });
  notices?.on("credentials", (key) => {
    if (key === undefined) cache.clear();
  });
  return {
    async find(workspaceId, userId) {
      const key = `${workspaceId}/${userId}`;
      const known = cache.get(key);
      if (known) return known;
      const [row] = await options.db.withWorkspace(workspaceId, (tx) =>
        tx.query<{ role: Role; session_version: number }>({
          name: "membership",
          text: "SELECT role, session_version FROM memberships WHERE workspace_id = current_workspace() AND user_id = $1",
          values: [userId],
        }),
      );
      if (!row) return undefined;
      const membership = { workspaceId, role: row.role, sessionVersion: row.session_version };
      cache.set(key, membership);
      return membership;
    },
    forget() {
      cache.clear();
      notices?.ring("credentials");
    },
  };
}

/** The workspaces of a user, first joined first; from a platform transaction, for sign-in. */
export async function membershipsOf(tx: Tx, userId: string): Promise<Membership[]> {
  const rows = await tx.query<{ workspace_id: string; role: Role; session_version: number }>({
    text: "SELECT workspace_id, role, session_version FROM memberships WHERE user_id = $1 ORDER BY created_at, workspace_id",
    values: [userId],
  });
  return rows.map((row) => ({
    workspaceId: row.workspace_id,
    role: row.role,
    sessionVersion: row.session_version,
  }));
}

const addedMember = z.discriminatedUnion("status", [
  z.object({ status: z.literal("added"), members: z.int(), limit: z.int().nullable() }),
  z.object({ status: z.literal("member"), role: z.enum(roles) }),
  z.object({ status: z.literal("exhausted"), members: z.int(), limit: z.int() }),
]);

/**
 * Makes somebody a member of the transaction's workspace, if it has a seat left; who is one already stays as they are.
 * -> whether they are new. Throws `members_exhausted` (402).
 */
export async function addMember(tx: Tx, member: { userId: string; role: Role }): Promise<boolean> {
  const [row] = await tx.query<{ answer: unknown }>({
    text: "SELECT add_member($1, $2) AS answer",
    values: [member.userId, member.role],
  });
  const answer = addedMember.parse(row?.answer);
  if (answer.status === "exhausted") throw membersExhausted(answer);
  return answer.status === "added";
}

/** Ends every access token of the user before its time; sessions that are still good fetch a new one. */
export async function endAccessTokens(tx: Tx, userId: string): Promise<void> {
  await tx.query({
    text: "UPDATE memberships SET session_version = session_version + 1 WHERE user_id = $1",
    values: [userId],
  });
}
