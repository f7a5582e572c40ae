import type { z } from "zod";
import type { apiKeySchema, Scope } from "@guildhall/sdk/contract/workspace.ts";

export type ApiKey = z.infer<typeof apiKeySchema>;

/** Every scope, in the order in which the page offers them; a test holds it to the contract. */
export const offeredScopes = [
  "tasks:read",
  "tasks:write",
  "agents:read",
  "usage:read",
  "limits:write",
  "keys:write",
  "models:invoke",
] as const satisfies readonly Scope[];
