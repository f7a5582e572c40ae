import type { Task } from "@guildhall/sdk/contract/task.ts";
import type { TaskView } from "../events/task-view.ts";
import { hasEnded } from "./task-state.tsx";

export type TaskMoney = {
  spentNanoUsd: number;
  heldNanoUsd: number;
  leftNanoUsd: number;
  limitNanoUsd: number;
};

/**
 * What a task has spent and reserved at this moment. The row knows everything that was ever settled, delegated tasks
 * included, but comes later than the events; the fold knows this stream only, but at once. Both only grow towards the
 * same ledger, so the larger one is the newer one.
 */
export function taskMoney(task: Task, view?: TaskView): TaskMoney {
  const spentNanoUsd = Math.max(task.usage.spent_nano_usd, view?.spentNanoUsd ?? 0);
  const isNewer = view !== undefined && view.lastSeq > task.last_seq;
  const isOver = hasEnded(task.state) || (view !== undefined && hasEnded(view.state));
  const heldNanoUsd = isNewer ? (isOver ? 0 : view.heldNanoUsd) : task.usage.held_nano_usd;
  const limitNanoUsd = task.limits.cost_nano_usd;
  return {
    spentNanoUsd,
    heldNanoUsd,
    limitNanoUsd,
    leftNanoUsd: Math.max(0, limitNanoUsd - spentNanoUsd - heldNanoUsd),
  };
}
