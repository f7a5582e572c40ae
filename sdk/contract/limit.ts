import { z } from "zod";

/** Whose limit it is. `owner` is the billing account, `platform` the whole installation. */
export const limitLevels = [
  "run",
  "task",
  "agent",
  "key",
  "workspace",
  "owner",
  "platform",
] as const;
export type LimitLevel = (typeof limitLevels)[number];

/** Levels whose limits a workspace sets itself, each of its own. */
export const settableLevels = ["workspace", "agent", "task", "key"] as const;
export type SettableLevel = (typeof settableLevels)[number];

/** What a workspace limits itself: nano-USD for model_cost, milliseconds for agent_time, a count for the others. */
export const settableMeters = [
  "model_cost",
  "agent_time",
  "concurrent_tasks",
  "api_requests",
  "members",
  "model_calls",
  "tool_calls",
] as const;
export type SettableMeter = (typeof settableMeters)[number];

/** All that is limited. `storage_bytes`, what its files take, is agreed with whoever runs the installation. */
export const limitMeters = [...settableMeters, "storage_bytes"] as const;
export type LimitMeter = (typeof limitMeters)[number];

/** Who may raise or lift a limit: a role in the workspace, whoever pays, or whoever runs the installation. */
export const raisers = ["owner", "admin", "member", "viewer", "payer", "operator"] as const;
export type Raiser = (typeof raisers)[number];

/**
 * `reserved`: the money is there, but open calls hold it, so the work goes on by itself when they end.
 * `exhausted`: the limit is reached.
 */
export const limitStatuses = ["reserved", "exhausted"] as const;

/** A limit that has paused a task, as it stood at that moment. */
export const limitStopSchema = z.object({
  kind: z.literal("limit"),
  status: z.enum(limitStatuses),
  meter: z.enum(["model_cost", "agent_time", "model_calls", "tool_calls"]),
  level: z.enum(limitLevels),
  scope_id: z.string(),
  /** Name of the agent, key or workspace, title of the task; null for levels above the workspace. */
  scope_name: z.string().nullable(),
  /** `all`, a UTC month `2026-11`, or a UTC day `2026-11-25`. */
  period: z.string(),
  /** Units of the meter. null for levels above the workspace, whose figures are not the workspace's own. */
  limit: z.int().nullable(),
  /** Used by what counts against the limit; above the workspace, this workspace's own use. */
  posted: z.int(),
  held: z.int(),
  /** limit - posted - held, not below zero. */
  left: z.int().nullable(),
  /** What the next step needs at least. */
  needed: z.int(),
  /** When the period turns, ISO 8601; null when it never does. */
  resets_at: z.string().nullable(),
  raised_by: z.array(z.enum(raisers)),
});
export type LimitStop = z.infer<typeof limitStopSchema>;

/** The agent's model has no price, so no call can be limited. Goes on when it has one, or the agent another model. */
export const unpricedStopSchema = z.object({
  kind: z.literal("unpriced"),
  model: z.string(),
  raised_by: z.array(z.enum(raisers)),
});

/** The whole workspace is stopped, for example by the `margin_guard` or the `operator`. Goes on when that is lifted. */
export const suspendedStopSchema = z.object({
  kind: z.literal("suspended"),
  reason: z.string(),
  raised_by: z.array(z.enum(raisers)),
});

/** A task that does not go on because of a limit. */
export const waitingTaskSchema = z.object({
  task_id: z.string(),
  title: z.string(),
  agent_id: z.string(),
  /** `queued`: it waits for a slot; `limit` with its status: it is paused; the others as in a task's `parked`. */
  why: z.enum(["queued", "reserved", "exhausted", "unpriced", "suspended"]),
  /** What its next step needs, in units of the meter; null where that is not an amount. */
  needed: z.int().nullable(),
  /** Since when, ISO 8601. */
  since: z.string(),
});
export type WaitingTask = z.infer<typeof waitingTaskSchema>;

/** One version of a limit. */
export const limitChangeSchema = z.object({
  version: z.int(),
  /** Units of the meter; null is no limit. */
  amount: z.int().nullable(),
  /** `user:usr_…`, `key:key_…` or a part of the program such as `system`. */
  changed_by: z.string(),
  /** Who that is, in words. */
  changed_by_name: z.string(),
  changed_at: z.string(),
});

/** One limit that can stop work, how it stands, and what waits for it. */
export const limitRowSchema = z.object({
  level: z.enum(limitLevels),
  scope_id: z.string(),
  /** Name of the agent, key or workspace, title of the task; null for `owner`, `platform` and task defaults. */
  scope_name: z.string().nullable(),
  meter: z.enum(limitMeters),
  window: z.enum(["now", "hour", "day", "month", "task"]),
  /** `now`, `1 h`, `all`, a UTC month or a UTC day. */
  period: z.string(),
  resets_at: z.string().nullable(),
  used: z.int(),
  held: z.int(),
  /** null without a limit, and above the workspace. */
  left: z.int().nullable(),
  max: z.int().nullable(),
  /** The limit in force ends by itself at `ends_at`, and then it is `former` again (null: none); null when it stays. */
  temporary: z.object({ ends_at: z.string(), former: z.int().nullable() }).nullable(),
  /** The version in force; 0 when nobody has changed it, null where there are none. */
  version: z.int().nullable(),
  /** What happens to work that does not fit. */
  on_hit: z.enum(["pause", "queue", "429", "402", "refuse"]),
  /** warn from 80 %, high from 95 %, stopped when nothing is left or tasks are paused at it. */
  status: z.enum(["ok", "warn", "high", "stopped"]),
  waiting: z.array(waitingTaskSchema),
  /** All that wait; `waiting` names at most 20 of them. */
  waiting_count: z.int(),
  /** Newest first, at most 20. */
  changes: z.array(limitChangeSchema),
  raised_by: z.array(z.enum(raisers)),
  /** The caller may change it with `PUT /v1/limits`. */
  settable: z.boolean(),
});
export type LimitRow = z.infer<typeof limitRowSchema>;

/** Body of `GET /v1/limits`. */
export const limitListSchema = z.object({
  /** The workspace's own first, then agents, tasks and keys, then what is above the workspace. */
  data: z.array(limitRowSchema),
  /** What stops work without being an amount. */
  stops: z.array(
    z.discriminatedUnion("kind", [
      unpricedStopSchema.extend({ waiting: z.array(waitingTaskSchema), waiting_count: z.int() }),
      suspendedStopSchema.extend({ waiting: z.array(waitingTaskSchema), waiting_count: z.int() }),
    ]),
  ),
  /** True when the model is the built-in simulation, whose dollars are not real. */
  simulated: z.boolean(),
});
export type LimitList = z.infer<typeof limitListSchema>;

/** Body of `POST /v1/limits/simulate`: a call as a new task's first one would be, without making it. */
export const simulateCallSchema = z.strictObject({
  model: z.string().min(1).max(200),
  input_tokens: z.int().min(0).max(2_000_000),
  max_tokens: z.int().min(1).max(1_000_000),
  /** Whose monthly limit it counts against. */
  agent: z.string().min(1).max(64).optional(),
  /** An open task, whose caps and whose agent it counts against; without one, a new task with the default cap. */
  task: z.string().min(1).max(64).optional(),
  /** An API key, when a program makes the call rather than a task; not together with `agent` or `task`. */
  key: z.string().min(1).max(64).optional(),
});

/** Answer of `POST /v1/limits/simulate`. Nothing was held. */
export const simulatedCallSchema = z.object({
  /**
   * `fits`: it would be admitted; `clamped`: with a shorter answer; `reserved`: once open calls end; `exhausted`: not
   * before a limit is raised or turns; `unpriced`: the model has no price; `suspended`: the workspace is stopped.
   */
  outcome: z.enum(["fits", "clamped", "reserved", "exhausted", "unpriced", "suspended"]),
  /** The most that it can cost, which is what is held, nano-USD; null without a price. */
  cost_nano_usd: z.int().nullable(),
  checks: z.array(
    z.object({
      level: z.enum(limitLevels),
      scope_id: z.string(),
      scope_name: z.string().nullable(),
      meter: z.enum(limitMeters),
      outcome: z.enum(["fits", "clamped", "reserved", "exhausted"]),
      /** For the whole answer. */
      needed: z.int(),
      /** null without a limit, and above the workspace. */
      left: z.int().nullable(),
    }),
  ),
});
export type SimulatedCall = z.infer<typeof simulatedCallSchema>;
