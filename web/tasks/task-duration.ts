import type { Task } from "@guildhall/sdk/contract/task.ts";

/** From the first start to the end, or to now. Undefined before the first start. Milliseconds. */
export function taskDurationMs(task: Task, nowMs: number): number | undefined {
  if (task.started_at === null) return undefined;
  const endMs = task.ended_at === null ? nowMs : Date.parse(task.ended_at);
  return Math.max(0, endMs - Date.parse(task.started_at));
}
