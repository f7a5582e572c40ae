import { useMemo } from "react";
import { useSuspenseQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ChevronLeft } from "lucide-react";
import { taskQuery } from "../../../../api/queries.ts";
import { t } from "../../../../messages/translate.ts";
import { useTaskView } from "../../../../realtime/use-task-view.ts";
import { LimitBanner } from "../../../../shell/limit-banner.tsx";
import { AgentName } from "../../../../tasks/agent-name.tsx";
import { holdUpOf } from "../../../../tasks/limit-text.ts";
import { PageHead } from "../../../../ui/page-head.tsx";
import { AnswerBox } from "./answer-box.tsx";
import { Artifacts } from "./artifacts.tsx";
import { CostTicker } from "./cost-ticker.tsx";
import { FamilyLink } from "./family-link.tsx";
import { mergeTask } from "./merge-task.ts";
import { Outcome } from "./outcome.tsx";
import { TaskActions } from "./task-actions.tsx";
import { TaskFacts } from "./task-facts.tsx";
import { TaskStatus } from "./task-status.tsx";
import { Transcript } from "./transcript.tsx";
import styles from "./task-page.module.css";

export function TaskPage() {
  const { workspaceId, taskId } = useParams({ from: "/w/$workspaceId/tasks/$taskId" });
  const { data: row } = useSuspenseQuery(taskQuery(taskId));
  const view = useTaskView(taskId);
  const task = useMemo(() => mergeTask(row, view), [row, view]);
  const hold = task.state === "paused" ? holdUpOf(task.parked) : undefined;
  return (
    <>
      <nav aria-label={t("breadcrumb")}>
        <Link to="/w/$workspaceId/tasks" params={{ workspaceId }} className={styles["back"]}>
          <ChevronLeft size={16} aria-hidden />
          {t("tasks.title")}
        </Link>
      </nav>
      <PageHead title={task.title} actions={<TaskActions task={task} />}>
        <p className={styles["under"]}>
          <TaskStatus task={task} />
          <AgentName id={task.agent_id} />
        </p>
      </PageHead>
      <FamilyLink task={task} />
      {hold !== undefined && <LimitBanner hold={hold} />}
      {task.state === "waiting" && task.parked?.kind === "question" && (
        <AnswerBox
          key={task.parked.question_id}
          taskId={task.id}
          questionId={task.parked.question_id}
          question={task.parked.question}
        />
      )}
      <div className={styles["columns"]}>
        <div className={styles["cost"]}>
          <CostTicker task={task} view={view} />
        </div>
        <div className={styles["main"]}>
          <Outcome task={task} />
          <Artifacts artifacts={task.artifacts} />
          <Transcript view={view} />
        </div>
        <div className={styles["facts"]}>
          <TaskFacts task={task} view={view} />
        </div>
      </div>
    </>
  );
}
