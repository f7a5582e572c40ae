import type { Role, Scope } from "@guildhall/sdk/contract/workspace.ts";

/** Whom a request speaks for. Everything it may see is in `workspaceId`, everything it may do in `scopes`. */
export type Principal = {
  kind: "user" | "api_key";
  /** `usr_…` or `key_…`. */
  id: string;
  /** The person behind it: itself, or who made the key. */
  userId: string;
  workspaceId: string;
  /** The role of the user, or of the user who made the key, as it is now. */
  role: Role;
  scopes: readonly Scope[];
  /** As audit lines and `created_by` name it: `user:usr_…` or `key:key_…`. */
  actor: string;
};

const viewer: readonly Scope[] = ["tasks:read", "agents:read", "usage:read"];
const member: readonly Scope[] = [...viewer, "tasks:write", "models:invoke"];
const admin: readonly Scope[] = [...member, "limits:write", "keys:write"];

const scopesByRole: Readonly<Record<Role, readonly Scope[]>> = {
  viewer,
  member,
  admin,
  owner: admin,
};

/** What a role may do. */
export function scopesOf(role: Role): readonly Scope[] {
  return scopesByRole[role];
}

/** The rights of a key: never more than its scopes, never more than its creator may do now. */
export function effectiveScopes(granted: readonly Scope[], role: Role): Scope[] {
  const allowed = scopesOf(role);
  return granted.filter((scope) => allowed.includes(scope));
}
