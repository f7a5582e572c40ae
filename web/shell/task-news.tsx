import { useEffect, useRef } from "react";
import { useQuery } from "@tanstack/react-query";
import type { Task, TaskState } from "@guildhall/sdk/contract/task.ts";
import { officeTasksQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { causeLine } from "../tasks/cause-text.ts";
import { parkedLine } from "../tasks/limit-text.ts";
import { announce } from "../ui/announce.ts";

/** What a change of state is worth saying; undefined for the usual course of things. */
function newsOf(task: Task): string | undefined {
  const { title } = task;
  switch (task.state) {
    case "succeeded":
      return t("news.succeeded", { title });
    case "failed":
      return t("news.failed", { title, cause: causeLine(task.cause) ?? "" });
    case "paused":
      return t("news.paused", { title, limit: task.parked ? parkedLine(task.parked) : "" });
    case "waiting":
      return task.parked?.kind === "question"
        ? t("news.question", { title, question: task.parked.question })
        : undefined;
    default:
      return undefined;
  }
}

/** Tells screen readers of ends, failures, limits and questions, on whichever page they are. */
export function TaskNews() {
  const { data: tasks } = useQuery(officeTasksQuery);
  const known = useRef<Map<string, TaskState>>(undefined);
  useEffect(() => {
    if (tasks === undefined) return;
    for (const task of tasks) {
      const before = known.current?.get(task.id);
      // What was there when the page opened is no news.
      if (known.current === undefined || before === task.state) continue;
      const news = newsOf(task);
      if (news !== undefined) announce(news);
    }
    known.current = new Map(tasks.map((task) => [task.id, task.state]));
  }, [tasks]);
  return null;
}
