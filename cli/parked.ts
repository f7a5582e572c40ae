import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { duration, usd } from "./format.ts";

/** Why a task does not go on, and the command that lets it. */
export function parkedLine(parked: Parked): string {
  switch (parked.kind) {
    case "question":
      return `? ${parked.question}\n  Answer with: guildhall task answer ${parked.question_id} "…"`;
    case "child":
      return `⧗ waits for the delegated task ${parked.child_task_id}`;
    case "limit": {
      const limit = parked.meter === "model_cost" ? usd(parked.limit) : duration(parked.limit);
      const scope =
        parked.level === "task" || parked.level === "agent"
          ? ` --${parked.level} ${parked.scope_id}`
          : "";
      return `❚❚ paused: the ${parked.level} limit of ${limit} is reached. Nothing is lost; it goes on when the limit is raised:\n  guildhall limit set <usd>${scope}`;
    }
  }
}
