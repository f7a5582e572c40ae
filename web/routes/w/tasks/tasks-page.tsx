import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { deadCause, taskListQuery } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { openNewTask } from "../../../shell/dialogs.ts";
import { Button } from "../../../ui/button.tsx";
import { EmptyState } from "../../../ui/empty-state.tsx";
import { Loading } from "../../../ui/loading.tsx";
import { PageHead } from "../../../ui/page-head.tsx";
import { ProblemNotice } from "../../../ui/problem.tsx";
import { TaskFilters } from "./task-filters.tsx";
import { TaskTable } from "./task-table.tsx";

const exampleCommand =
  'npx guildhall task run --agent gray --input ./data "Profile these CSV files and write report.md" --follow';

export function TasksPage() {
  const filter = useSearch({ from: "/w/$workspaceId/tasks" });
  const { workspaceId } = useParams({ from: "/w/$workspaceId/tasks" });
  const navigate = useNavigate();
  const list = useInfiniteQuery(taskListQuery(filter));
  const tasks = list.data?.pages.flatMap((page) => page.data) ?? [];
  const isFiltered = Object.values(filter).some((choice) => choice !== undefined);
  return (
    <>
      <PageHead title={t("tasks.title")} />
      <TaskFilters
        filter={filter}
        onChange={(search) =>
          void navigate({ to: "/w/$workspaceId/tasks", params: { workspaceId }, search })
        }
      />
      {filter.cause === deadCause && <p className="dim">{t("tasks.deadText")}</p>}
      {list.isError && <ProblemNotice error={list.error} />}
      {list.isPending && <Loading />}
      {list.isSuccess && tasks.length === 0 && (
        <EmptyState
          text={isFiltered ? t("tasks.noneHere") : t("tasks.none")}
          action={
            <Button look="primary" onClick={() => openNewTask()}>
              {t("newTask.first")}
            </Button>
          }
          {...(isFiltered ? {} : { command: exampleCommand })}
        />
      )}
      {tasks.length > 0 && (
        <TaskTable
          tasks={tasks}
          workspaceId={workspaceId}
          hasMore={list.hasNextPage}
          onEnd={() => {
            if (list.hasNextPage && !list.isFetchingNextPage) void list.fetchNextPage();
          }}
        />
      )}
    </>
  );
}
