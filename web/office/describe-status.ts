import { formatCost } from "../format/money.ts";
import { formatCompact } from "../format/number.ts";
import { formatDuration, formatMoment } from "../format/time.ts";
import { t } from "../messages/translate.ts";
import { causeLine } from "../tasks/cause-text.ts";
import { parkedLine } from "../tasks/limit-text.ts";
import { toolLine } from "../tasks/tool-line.ts";
import type { AgentStatus } from "./agent-status.ts";

/** The state in one word: the text beside the badge. */
export function statusLabel(status: AgentStatus): string {
  return t(`office.state.${status.kind}`);
}

/** What the speech bubble says; undefined when there is nothing to say. */
export function statusBubble(status: AgentStatus, nowMs: number): string | undefined {
  switch (status.kind) {
    case "idle":
      return undefined;
    case "queued":
      return t("office.bubble.queued", { place: status.place });
    case "thinking":
      return t("office.bubble.thinking");
    case "tool":
      return toolLine(status.entry.name, status.entry.input);
    case "retrying":
      return t("office.bubble.retrying", { wait: formatDuration(status.retryInMs) });
    case "blocked":
      return status.task.parked ? parkedLine(status.task.parked) : t("parked.child");
    case "approval":
      return status.question;
    case "paused":
      return status.task.parked ? parkedLine(status.task.parked) : undefined;
    case "offline":
      return t("office.bubble.offline", {
        ago: formatDuration(nowMs - Date.parse(status.since)),
      });
    case "error":
      return t("office.bubble.error", {
        cause: causeLine(status.task.cause) ?? status.task.state,
      });
    case "done":
      return t("office.bubble.done", { cost: formatCost(status.task.usage.spent_nano_usd) });
  }
}

/** One line for the inspector: more than the bubble has room for. */
export function statusDetail(status: AgentStatus, nowMs: number): string {
  if (status.kind === "idle") {
    return status.since === undefined
      ? t("office.detail.new")
      : t("office.detail.idle", { at: formatMoment(status.since, nowMs) });
  }
  if (status.kind === "thinking" && status.entry) {
    return t("office.detail.thinking", {
      model: status.entry.model,
      tokens: formatCompact(status.entry.maxTokens),
    });
  }
  if (status.kind === "retrying") return status.message;
  return statusBubble(status, nowMs) ?? statusLabel(status);
}

/** What colleagues call an agent: the name in quotes when there is one, else the first. */
export function shortName(name: string): string {
  return /"([^"]+)"/.exec(name)?.[1] ?? name.split(" ")[0] ?? name;
}

const counted = ["thinking", "queued", "blocked", "approval", "paused", "error", "idle"] as const;
type Counted = (typeof counted)[number];

const groupOf: Readonly<Record<AgentStatus["kind"], Counted>> = {
  idle: "idle",
  done: "idle",
  queued: "queued",
  offline: "queued",
  thinking: "thinking",
  tool: "thinking",
  retrying: "thinking",
  blocked: "blocked",
  approval: "approval",
  paused: "paused",
  error: "error",
};

/** The office in one line: "5 agents: 2 working · 3 idle". */
export function officeSummary(statuses: readonly AgentStatus[]): string {
  const groups = statuses.map((status) => groupOf[status.kind]);
  const parts = counted.flatMap((group) => {
    const count = groups.filter((each) => each === group).length;
    return count === 0 ? [] : [t(`office.count.${group}`, { count })];
  });
  return `${t("office.agents", { count: statuses.length })}: ${parts.join(" · ")}`;
}
