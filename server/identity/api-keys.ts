import type { z } from "zod";
import type {
  apiKeySchema,
  createdApiKeySchema,
  Role,
  Scope,
} from "@guildhall/sdk/contract/workspace.ts";
import { appendAudit } from "../audit/audit.ts";
import { formatApiKey, parseApiKey } from "../platform/api-key-text.ts";
import type { Clock } from "../platform/clock.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { newId, newSecret } from "../platform/ids.ts";
import type { Notices } from "../platform/notices.ts";
import { sameDigest, sha256Hex } from "../platform/secret.ts";
import { createFreshCache } from "./fresh-cache.ts";
import { CACHE_MS } from "./members.ts";
import { effectiveScopes, type Principal } from "./principal.ts";

export type ApiKey = z.infer<typeof apiKeySchema>;
export type CreatedApiKey = z.infer<typeof createdApiKeySchema>;

export type CreateApiKey = {
  workspaceId: string;
  /** User whose rights bound the key's. */
  createdBy: string;
  /** Who asks, for the audit. */
  actor: string;
  origin: string;
  name: string;
  scopes: readonly Scope[];
  /** ISO 8601; without it the key does not end by itself. */
  expiresAt?: string | undefined;
};

export type ApiKeys = {
  /** Makes a key; the answer is the only time its text can be seen. Throws `expiry_in_past` (422). */
  create(request: CreateApiKey): Promise<CreatedApiKey>;
  list(workspaceId: string): Promise<ApiKey[]>;
  /** Ends a key; it is refused in this process at once, in others when they hear of it, within 2 s. Throws `api_key_not_found` (404). */
  revoke(request: {
    workspaceId: string;
    id: string;
    actor: string;
    origin: string;
  }): Promise<void>;
  /** Whom a key speaks for now, or undefined. */
  verify(key: string): Promise<Principal | undefined>;
};

type Row = {
  id: string;
  name: string;
  scopes: Scope[];
  created_at: Date;
  expires_at: Date | null;
  last_used_at: Date | null;
  revoked_at: Date | null;
};
type Live = {
  secret_hash: string;
  created_by: string;
  scopes: Scope[];
  role: Role;
  expires_in_ms: number | null;
};

const CACHE_ENTRIES = 10_000;
const COLUMNS = "id, name, scopes, created_at, expires_at, last_used_at, revoked_at";

function toApiKey(workspaceId: string, row: Row): ApiKey {
  return {
    id: row.id,
    name: row.name,
    prefix: `ghk_${workspaceId}.${row.id}`,
    scopes: row.scopes,
    created_at: row.created_at.toISOString(),
    expires_at: row.expires_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
    revoked_at: row.revoked_at?.toISOString() ?? null,
  };
}

/** The key as it counts now: neither revoked nor ended, and its creator still a member. */
async function readLive(tx: WorkspaceTx, id: string): Promise<Live | undefined> {
  const [row] = await tx.query<Live>({
    name: "live_api_key",
    text: `SELECT k.secret_hash, k.scopes, k.created_by, m.role, floor(extract(epoch FROM k.expires_at - clock_now()) * 1000)::bigint AS expires_in_ms
      FROM api_keys k JOIN memberships m ON m.workspace_id = k.workspace_id AND m.user_id = k.created_by
      WHERE k.workspace_id = current_workspace() AND k.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_now())`,
    values: [id],
  });
  return row;
}

/** Once a minute is enough to find keys that nobody uses, and keeps a busy key from writing with every request. */
async function markUsed(tx: WorkspaceTx, id: string): Promise<void> {
  await tx.query({
    name: "api_key_used",
    text: `UPDATE api_keys SET last_used_at = clock_now()
      WHERE workspace_id = current_workspace() AND id = $1 AND (last_used_at IS NULL OR last_used_at < clock_now() - interval '1 minute')`,
    values: [id],
  });
}

async function insertKey(tx: WorkspaceTx, request: CreateApiKey): Promise<CreatedApiKey> {
  const id = newId("key");
  const secret = newSecret();
  const [row] = await tx.query<Row>({
    text: `INSERT INTO api_keys (workspace_id, id, name, secret_hash, scopes, created_by, expires_at)
      SELECT current_workspace(), $1, $2, $3, $4, $5, $6::timestamptz WHERE $6::timestamptz IS NULL OR $6::timestamptz > clock_now()
      RETURNING ${COLUMNS}`,
    values: [
      id,
      request.name,
      sha256Hex(secret),
      [...new Set(request.scopes)],
      request.createdBy,
      request.expiresAt ?? null,
    ],
  });
  if (!row) {
    throw new AppError({
      code: "expiry_in_past",
      status: 422,
      publicMessage: "The key would have ended before it began.",
      hint: "Give a time in the future, or leave expires_at out.",
      fields: [{ field: "expires_at", message: "must be in the future" }],
    });
  }
  const key = toApiKey(tx.workspaceId, row);
  await appendAudit(tx, {
    actor: request.actor,
    action: "api_key.created",
    target: id,
    origin: request.origin,
    after: key,
  });
  return { ...key, key: formatApiKey({ workspaceId: tx.workspaceId, apiKeyId: id, secret }) };
}

async function revokeKey(
  tx: WorkspaceTx,
  request: { id: string; actor: string; origin: string },
): Promise<void> {
  const rows = await tx.query<{ first: boolean }>({
    text: `UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, clock_now())
      FROM (SELECT revoked_at IS NULL AS first FROM api_keys WHERE workspace_id = current_workspace() AND id = $1 FOR UPDATE) before
      WHERE k.workspace_id = current_workspace() AND k.id = $1 RETURNING before.first`,
    values: [request.id],
  });
  if (!rows[0]) {
    throw new AppError({
      code: "api_key_not_found",
      status: 404,
      publicMessage: "There is no such API key.",
      hint: "GET /v1/api-keys lists the keys of this workspace.",
    });
  }
  if (!rows[0].first) return;
  await appendAudit(tx, { ...request, action: "api_key.revoked", target: request.id });
}

export function createApiKeys(options: {
  db: Db;
  clock: Clock;
  notices?: Pick<Notices, "on" | "ring">;
}): ApiKeys {
  const { db, notices } = options;
  const cache = createFreshCache<Live>({
    clock: options.clock,
    ttlMs: CACHE_MS,
    maxEntries: CACHE_ENTRIES,
  });
  notices?.on("credentials", (key) => {
    if (key === undefined) cache.clear();
    else cache.delete(key);
  });

  async function findLive(
    workspaceId: string,
    id: string,
    hash: string,
  ): Promise<Live | undefined> {
    const cacheKey = `${workspaceId}/${id}`;
    const known = cache.get(cacheKey);
    if (known) return known;
    return db.withWorkspace(workspaceId, async (tx) => {
      const live = await readLive(tx, id);
      if (!live || !sameDigest(live.secret_hash, hash)) return live;
      await markUsed(tx, id);
      // A key that is about to end is asked for each time, so that it ends on time.
      if (live.expires_in_ms === null || live.expires_in_ms > CACHE_MS) cache.set(cacheKey, live);
      return live;
    });
  }

  return {
    create: (request) => db.withWorkspace(request.workspaceId, (tx) => insertKey(tx, request)),
    list: (workspaceId) =>
      db.withWorkspace(workspaceId, async (tx) => {
        const rows = await tx.query<Row>({
          text: `SELECT ${COLUMNS} FROM api_keys WHERE workspace_id = current_workspace() ORDER BY id DESC`,
          values: [],
        });
        return rows.map((row) => toApiKey(workspaceId, row));
      }),
    async revoke(request) {
      await db.withWorkspace(request.workspaceId, (tx) => revokeKey(tx, request));
      const key = `${request.workspaceId}/${request.id}`;
      cache.delete(key);
      notices?.ring("credentials", key);
    },
    async verify(key) {
      const parsed = parseApiKey(key);
      if (parsed === undefined) return undefined;
      const { workspaceId, apiKeyId: id, secretHash: hash } = parsed;
      const live = await findLive(workspaceId, id, hash);
      if (!live || !sameDigest(live.secret_hash, hash)) return undefined;
      return {
        kind: "api_key",
        id,
        userId: live.created_by,
        workspaceId,
        role: live.role,
        scopes: effectiveScopes(live.scopes, live.role),
        actor: `key:${id}`,
      };
    },
  };
}
