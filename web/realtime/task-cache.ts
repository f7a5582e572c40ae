import type { InfiniteData, QueryClient } from "@tanstack/react-query";
import type { Task, TaskDetail } from "@guildhall/sdk/contract/task.ts";
import { limitsKey, taskKeys, usageKey } from "../api/queries.ts";

type Page = { data: Task[]; next_cursor: string | null };

/** Lists and budgets are read again at most this often, however many tasks change. */
const refreshEveryMs = 1_000;

const isNewer = (task: Task, known: Task) => task.last_seq >= known.last_seq;

function patched(tasks: readonly Task[], task: Task): Task[] {
  return tasks.map((known) => (known.id === task.id && isNewer(task, known) ? task : known));
}

/** Puts pushed task rows into what is on the page, and has lists and budgets read again after. */
export function createTaskCache(client: QueryClient): {
  put: (task: Task) => void;
  refresh: () => void;
} {
  let timer: ReturnType<typeof setTimeout> | undefined;

  function refresh(): void {
    timer ??= setTimeout(() => {
      timer = undefined;
      void client.invalidateQueries({ queryKey: taskKeys.all });
      void client.invalidateQueries({ queryKey: usageKey });
      void client.invalidateQueries({ queryKey: limitsKey });
    }, refreshEveryMs);
  }

  function put(task: Task): void {
    client.setQueryData<TaskDetail>(taskKeys.detail(task.id), (known) =>
      known && isNewer(task, known) ? { ...known, ...task } : known,
    );
    client.setQueryData<Task[]>(taskKeys.office, (known) => known && patched(known, task));
    client.setQueriesData<InfiniteData<Page>>({ queryKey: taskKeys.lists }, (known) =>
      known
        ? {
            ...known,
            pages: known.pages.map((page) => ({ ...page, data: patched(page.data, task) })),
          }
        : known,
    );
    refresh();
  }

  return { put, refresh };
}
