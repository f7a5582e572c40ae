import type { Task } from "@guildhall/sdk/contract/task.ts";

/** The moment that a queued task waits for; undefined when it may start. */
export function waitsForStart(
  { state, start_after: startAfter }: Pick<Task, "state" | "start_after">,
  nowMs: number,
): string | undefined {
  if (state !== "queued" || startAfter === null || Date.parse(startAfter) <= nowMs)
    return undefined;
  return startAfter;
}
