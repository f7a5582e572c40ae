import { z } from "zod";

/** What an alert says, wherever it is told. */
const alertFacts = {
  meter: z.enum([
    "model_cost",
    "agent_time",
    "concurrent_tasks",
    "api_requests",
    "members",
    "storage_bytes",
  ]),
  level: z.enum(["task", "agent", "key", "workspace", "owner"]),
  /** The task, agent, API key, workspace or billing account. */
  scope_id: z.string(),
  /** UTC month such as 2026-11, or `all`; of `api_requests` the hour of the alert, such as 2026-11-25T13. */
  period: z.string(),
  /** A limit that is changed counts anew. */
  limit_version: z.int(),
  /** `used`: what is spent; `demand`: spent, held, refused and waiting together. */
  kind: z.enum(["used", "demand"]),
  /** Threshold in percent of the limit: 50, 80, 100 of what is used, 200 of the demand. */
  percent: z.int(),
  /** nano-USD, milliseconds, bytes or a count, by meter. null: the billing account's, which other workspaces share. */
  limit: z.int().nullable(),
  /** What was used or demanded when the alert was raised; null like `limit`. */
  amount: z.int().nullable(),
};

/** One alert of `GET /v1/alerts`. */
export const alertSchema = z.object({
  /** Its number in the workspace's stream of events: rising, not dense. */
  seq: z.int(),
  at: z.string(),
  ...alertFacts,
  /** Name of the agent or API key, or title of the task; null for the others. */
  scope_name: z.string().nullable(),
  /** Not yet marked as read by the credential's person. */
  unread: z.boolean(),
});
export type Alert = z.infer<typeof alertSchema>;

/** Query of `GET /v1/alerts`. */
export const listAlertsSchema = z.strictObject({
  /** Only those before this `seq`: `next_before` of the page before. */
  before: z.coerce.number().int().min(1).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  unread: z.enum(["true", "false"]).optional(),
});
export const alertListSchema = z.object({
  data: z.array(alertSchema),
  /** How many are unread in all. */
  unread: z.int(),
  next_before: z.int().nullable(),
});
export type AlertList = z.infer<typeof alertListSchema>;

/** Body of `POST /v1/alerts/read`: everything up to this `seq` is read. */
export const readAlertsSchema = z.strictObject({ through: z.int().min(1) });

/** Events of a workspace's own stream, as sockets tell them. */
export const workspaceEventSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("limit.alert"), data: z.object(alertFacts) }),
  z.object({ type: z.literal("workspace.suspended"), data: z.object({ reason: z.string() }) }),
  z.object({ type: z.literal("workspace.resumed"), data: z.object({ reason: z.string() }) }),
]);
export type WorkspaceEvent = z.infer<typeof workspaceEventSchema> & { seq: number; at: string };
