import type { Ref } from "react";
import { Link } from "@tanstack/react-router";
import type { Agent } from "@guildhall/sdk/contract/workspace.ts";
import type { Entry, TaskView } from "../../../events/task-view.ts";
import { formatCost, formatLimit } from "../../../format/money.ts";
import { formatClock, formatDuration } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import type { AgentStatus } from "../../../office/agent-status.ts";
import { Avatar } from "../../../office/avatar.tsx";
import { shortName, statusDetail } from "../../../office/describe-status.ts";
import { StatusBadge } from "../../../office/status-badge.tsx";
import { openDialog, openNewTask } from "../../../shell/dialogs.ts";
import { holdUpOf } from "../../../tasks/limit-text.ts";
import { targetOfStop } from "../../../tasks/limit-target.ts";
import { taskDurationMs } from "../../../tasks/task-duration.ts";
import { taskMoney } from "../../../tasks/task-money.ts";
import { toolLine } from "../../../tasks/tool-line.ts";
import { Button, buttonClass } from "../../../ui/button.tsx";
import { MeterBar } from "../../../ui/meter-bar.tsx";
import styles from "./inspector.module.css";

const latestSteps = 5;

function stepLine(entry: Entry): string | undefined {
  if (entry.kind === "tool") return toolLine(entry.name, entry.input);
  if (entry.kind !== "model") return undefined;
  return entry.outcome
    ? t("inspector.model", { cost: formatCost(entry.outcome.costNanoUsd) })
    : t("step.thinking");
}

function LatestSteps({ view }: { view: TaskView }) {
  const lines = view.entries.flatMap((entry) => {
    const line = stepLine(entry);
    return line === undefined ? [] : [{ key: entry.key, at: entry.at, line }];
  });
  if (lines.length === 0) return null;
  return (
    <ol className={styles["steps"]}>
      {lines.slice(-latestSteps).map(({ key, at, line }) => (
        <li key={key}>
          <time dateTime={at}>{formatClock(at)}</time> {line}
        </li>
      ))}
    </ol>
  );
}

function CurrentTask({
  status,
  view,
  workspaceId,
  nowMs,
}: {
  status: Exclude<AgentStatus, { kind: "idle" }>;
  view: TaskView | undefined;
  workspaceId: string;
  nowMs: number;
}) {
  const { task } = status;
  const money = taskMoney(task, view);
  const durationMs = taskDurationMs(task, nowMs);
  const amounts = {
    used: formatCost(money.spentNanoUsd),
    held: formatCost(money.heldNanoUsd),
    limit: formatLimit(money.limitNanoUsd),
  };
  const hold = task.state === "paused" ? holdUpOf(task.parked) : undefined;
  const target = hold && targetOfStop(hold);
  return (
    <>
      <h3 className={styles["task"]}>{task.title}</h3>
      {durationMs !== undefined && <p className="dim">{formatDuration(durationMs)}</p>}
      <p className="money">{t("inspector.money", amounts)}</p>
      <MeterBar
        used={money.spentNanoUsd}
        held={money.heldNanoUsd}
        limit={money.limitNanoUsd}
        label={t("cost.label", amounts)}
      />
      {view && <LatestSteps view={view} />}
      <div className={styles["actions"]}>
        <Link
          to="/w/$workspaceId/tasks/$taskId"
          params={{ workspaceId, taskId: task.id }}
          className={buttonClass("primary")}
        >
          {t("inspector.open")}
        </Link>
        {target && (
          <Button onClick={() => openDialog({ kind: "raise-limit", target })}>
            {t("limit.raise")}
          </Button>
        )}
      </div>
    </>
  );
}

/** The chosen agent in detail. */
export function Inspector({
  ref,
  agent,
  status,
  view,
  workspaceId,
  nowMs,
}: {
  ref: Ref<HTMLElement>;
  agent: Agent;
  status: AgentStatus;
  view: TaskView | undefined;
  workspaceId: string;
  nowMs: number;
}) {
  return (
    <aside
      ref={ref}
      aria-label={t("inspector.label", { name: agent.name })}
      className={`panel ${styles["inspector"]}`}
    >
      <header className={styles["head"]}>
        <Avatar id={agent.id} size={64} />
        <div>
          <h2>{agent.name}</h2>
          <p className="dim">{agent.role}</p>
        </div>
      </header>
      <StatusBadge status={status} />
      <p>{statusDetail(status, nowMs)}</p>
      {status.kind === "idle" ? (
        <Button look="primary" onClick={() => openNewTask({ agent: agent.id })}>
          {t("newTask.give", { name: shortName(agent.name) })}
        </Button>
      ) : (
        <CurrentTask status={status} view={view} workspaceId={workspaceId} nowMs={nowMs} />
      )}
    </aside>
  );
}
