import { z } from "zod";

/** The release of what is said between processes. Bump it when an old reader would misread a new payload. */
export const WAKE_VERSION = 1;

/** Ids in one payload: 100 of them are 3.5 KB, and a notification of Postgres holds 8,000 bytes. */
export const IDS_AT_MOST = 100;

const taskId = z.string().regex(/^task_[0-9a-z]{1,40}$/);

/**
 * What one process tells another: ids and a wake, never a row.
 * `run_ready`: there may be something to claim; without ids: limits or slots changed. `task_ended`: whoever executes
 * one of these stops.
 */
export const wakeSchema = z.object({
  v: z.literal(WAKE_VERSION),
  kind: z.enum(["run_ready", "task_ended"]),
  task_ids: z.array(taskId).max(IDS_AT_MOST),
  /** Which process said it, so that it does not hear itself. */
  from: z.string().max(64).optional(),
});

export type Wake = { kind: z.infer<typeof wakeSchema>["kind"]; taskIds: readonly string[] };

export type ParsedWake =
  | { status: "wake"; wake: Wake; from: string | undefined }
  /** Of an older or newer release. What it means in full is unknown; that there is something to look for is not. */
  | { status: "other_version"; version: number }
  /** Fits no schema, and never will. */
  | { status: "unfit"; reason: string };

const versioned = z.object({ v: z.int().min(0) });

/** Reads a payload, whoever wrote it. Never throws. */
export function parseWake(payload: unknown): ParsedWake {
  const head = versioned.safeParse(payload);
  if (!head.success) return { status: "unfit", reason: reasonOf(head.error) };
  if (head.data.v !== WAKE_VERSION) return { status: "other_version", version: head.data.v };
  const parsed = wakeSchema.safeParse(payload);
  if (!parsed.success) return { status: "unfit", reason: reasonOf(parsed.error) };
  const { kind, task_ids: taskIds, from } = parsed.data;
  return { status: "wake", wake: { kind, taskIds }, from };
}

/** The same for text. */
export function parseWakeText(text: string): ParsedWake {
  let payload: unknown;
  try {
    payload = JSON.parse(text);
  } catch {
    return { status: "unfit", reason: "it is not JSON" };
  }
  return parseWake(payload);
}

/** The payload of a wake. */
export function wakePayload(wake: Wake, from: string): z.infer<typeof wakeSchema> {
  return { v: WAKE_VERSION, kind: wake.kind, task_ids: [...wake.taskIds], from };
}

function reasonOf(error: z.ZodError): string {
  return error.issues
    .map((issue) =>
      issue.path.length === 0 ? issue.message : `${issue.path.join(".")}: ${issue.message}`,
    )
    .join("; ");
}
