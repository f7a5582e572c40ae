import { z } from "zod";
import { settableLevels, settableMeters } from "./limit.ts";
import { overageMeters } from "./plan.ts";

export const agentSchema = z.object({
  id: z.string(),
  name: z.string(),
  role: z.string(),
  traits: z.array(z.string()),
  voice: z.string(),
  tools: z.array(z.string()),
  model: z.string(),
  desk: z.int(),
});
export type Agent = z.infer<typeof agentSchema>;
export const agentListSchema = z.object({ data: z.array(agentSchema) });

export const meterUsageSchema = z.object({
  meter: z.enum(["model_cost", "agent_time", "concurrent_tasks", "api_requests", "members"]),
  /** nano-USD, milliseconds or a count, by meter. */
  used: z.int(),
  held: z.int(),
  /** null is no limit. */
  limit: z.int().nullable(),
  /** UTC month such as 2026-11, `hour` (any 60 minutes), or `now`. */
  period: z.string(),
  resets_at: z.string().nullable(),
});
/** What is counted and has no limit, in tokens, calls, events, bytes, or milliseconds (`socket_time`). */
export const countedMeters = [
  "input_tokens",
  "cache_read_tokens",
  "cache_write_5m_tokens",
  "cache_write_1h_tokens",
  "output_tokens",
  "tool_calls",
  "events",
  "storage_bytes",
  "socket_time",
] as const;
export const countedUsageSchema = z.object({
  meter: z.enum(countedMeters),
  used: z.int(),
  /** UTC month such as 2026-11, or `now` for what is stored. */
  period: z.string(),
});

/** Body of `GET /v1/usage`: the workspace's current period, and where it went. */
export const usageSchema = z.object({
  meters: z.array(meterUsageSchema),
  by_agent: z.array(z.object({ agent_id: z.string(), tasks: z.int(), spent_nano_usd: z.int() })),
  /** API keys whose programs have called models; most spent first. */
  by_key: z.array(
    z.object({
      key_id: z.string(),
      name: z.string(),
      spent_nano_usd: z.int(),
      /** Of the key itself this month; null is no limit of its own. */
      limit_nano_usd: z.int().nullable(),
    }),
  ),
  by_model: z.array(
    z.object({
      model: z.string(),
      /** Those that were paid for; a refused attempt that was repeated is none. */
      calls: z.int(),
      spent_nano_usd: z.int(),
      input_tokens: z.int(),
      cache_read_tokens: z.int(),
      cache_write_tokens: z.int(),
      output_tokens: z.int(),
    }),
  ),
  by_day: z.array(z.object({ day: z.string(), spent_nano_usd: z.int(), tasks: z.int() })),
  counted: z.array(countedUsageSchema),
  /** True when the model is the built-in simulation, whose dollars are not real. */
  simulated: z.boolean(),
});
export type Usage = z.infer<typeof usageSchema>;

export const scopes = [
  "tasks:read",
  "tasks:write",
  "agents:read",
  "usage:read",
  "limits:write",
  "keys:write",
  "models:invoke",
] as const;
export type Scope = (typeof scopes)[number];

export const roles = ["owner", "admin", "member", "viewer"] as const;
export type Role = (typeof roles)[number];

/** Body of `GET /v1/me`: whom the credential speaks for. */
export const meSchema = z.object({
  workspace: z.object({
    id: z.string(),
    name: z.string(),
    plan: z.string(),
    /** Why no further call begins: `margin_guard` or `operator`; null when it goes on. */
    suspended: z.string().nullable(),
  }),
  actor: z.object({ kind: z.enum(["user", "api_key"]), id: z.string(), name: z.string() }),
  role: z.enum(roles),
  scopes: z.array(z.enum(scopes)),
  model: z.object({ simulated: z.boolean(), base_url: z.string() }),
  /** Where programs call models with an API key: the base URL of any client of the Messages protocol. */
  gateway: z.object({ base_url: z.string() }),
});
export type Me = z.infer<typeof meSchema>;

/** Body of `POST /v1/auth/exchange`: the secret of a one-time sign-in link. Sets the refresh cookie. */
export const exchangeLinkSchema = z.strictObject({ token: z.string().min(20).max(200) });
/** Body of `POST /v1/auth/token`; without a workspace the user's first one. */
export const issueTokenSchema = z.strictObject({ workspace_id: z.string().optional() });
/** Answer of both: the access token is a JWT for one workspace. */
export const accessTokenSchema = z.object({
  access_token: z.string(),
  expires_in_ms: z.int(),
  workspace_id: z.string(),
});

export const createApiKeySchema = z.strictObject({
  name: z.string().trim().min(1).max(100),
  scopes: z.array(z.enum(scopes)).min(1),
  expires_at: z.iso.datetime().optional(),
});
export const apiKeySchema = z.object({
  id: z.string(),
  name: z.string(),
  prefix: z.string(),
  scopes: z.array(z.enum(scopes)),
  created_at: z.string(),
  expires_at: z.string().nullable(),
  last_used_at: z.string().nullable(),
  revoked_at: z.string().nullable(),
});
export const createdApiKeySchema = apiKeySchema.extend({
  /** Shown this once; only its hash is stored. */ key: z.string(),
});
export const apiKeyListSchema = z.object({ data: z.array(apiKeySchema) });

/**
 * Body of `PUT /v1/limits`. amount: nano-USD, milliseconds or a count, above zero; null removes the limit. Zero is
 * refused as a likely mistake: one nano-USD stops work as well.
 */
export const setLimitSchema = z.strictObject({
  meter: z.enum(settableMeters),
  level: z.enum(settableLevels),
  scope_id: z.string().optional(),
  amount: z.int().min(1).nullable(),
  /** Until when it holds, ISO 8601; then the limit is again what it was before. Without it: until it is changed. */
  until: z.iso.datetime({ offset: true }).optional(),
});
/** Answer of `PUT /v1/limits`; `version` grows with each change. */
export const limitSchema = setLimitSchema.extend({ scope_id: z.string(), version: z.int() });

/** Body of `PUT /v1/limits/overage`. amount: nano-USD or milliseconds a month, by meter; 0 is none. */
export const setOverageSchema = z.strictObject({
  meter: z.enum(overageMeters),
  amount: z.int().min(0),
});
/** Answer of `PUT /v1/limits/overage`: the overage, and the limit that is in force with it. */
export const overageSchema = setOverageSchema.extend({
  limit: z.int().nullable(),
  version: z.int(),
});
