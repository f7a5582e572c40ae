import type { Agent } from "@guildhall/sdk/contract/workspace.ts";
import { formatCost, formatLimit } from "../../../format/money.ts";
import type { AgentStatus } from "../../../office/agent-status.ts";
import { Avatar } from "../../../office/avatar.tsx";
import { statusBubble, statusDetail } from "../../../office/describe-status.ts";
import { StatusBadge } from "../../../office/status-badge.tsx";
import { MeterBar } from "../../../ui/meter-bar.tsx";
import styles from "./office-page.module.css";

/** Keeps the parts of a row apart for those who hear it as one sentence. */
function Pause() {
  return <span className="visually-hidden">, </span>;
}

/** One agent of the list: a button whose name is everything that the row shows. */
export function AgentDesk({
  agent,
  status,
  nowMs,
  chosen,
  onFocus,
  onClick,
}: {
  agent: Agent;
  status: AgentStatus;
  nowMs: number;
  chosen: boolean;
  onFocus: () => void;
  onClick: () => void;
}) {
  const bubble = statusBubble(status, nowMs);
  const task = status.kind === "idle" ? undefined : status.task;
  return (
    <li>
      <button
        type="button"
        data-agent={agent.id}
        data-state={status.kind}
        aria-pressed={chosen}
        tabIndex={chosen ? 0 : -1}
        className={styles["desk"]}
        onClick={onClick}
        onFocus={onFocus}
      >
        <Avatar id={agent.id} size={48} />
        <span className={styles["who"]}>
          <span className={styles["name"]}>{agent.name}</span>
          <Pause />
          <span className={styles["role"]}>{agent.role}</span>
          <Pause />
        </span>
        <span className={styles["state"]}>
          <StatusBadge status={status} />
          <Pause />
        </span>
        <span className={styles["what"]}>
          {task && (
            <>
              <span className={styles["task"]}>{task.title}</span>
              <Pause />
            </>
          )}
          <span className={styles["bubble"]}>{bubble ?? statusDetail(status, nowMs)}</span>
          <Pause />
        </span>
        {task && (
          <span className={styles["cost"]}>
            <span className="money">
              {formatCost(task.usage.spent_nano_usd)}
              <span className="dim"> / {formatLimit(task.limits.cost_nano_usd)}</span>
            </span>
            <MeterBar
              used={task.usage.spent_nano_usd}
              held={task.usage.held_nano_usd}
              limit={task.limits.cost_nano_usd}
            />
          </span>
        )}
      </button>
    </li>
  );
}
