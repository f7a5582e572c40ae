import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { formatCost, formatLimit } from "../format/money.ts";
import { formatDateTime, formatDuration } from "../format/time.ts";
import { t } from "../messages/translate.ts";

export type LimitStop = Extract<Parked, { kind: "limit" }>;

const levelName = (level: LimitStop["level"]): string => t(`limit.level.${level}`);

function amounts(stop: LimitStop): { limit: string; used: string; held: string; needed: string } {
  if (stop.meter === "agent_time") {
    return {
      limit: formatDuration(stop.limit),
      used: formatDuration(stop.posted),
      held: formatDuration(stop.held),
      needed: formatDuration(stop.needed),
    };
  }
  return {
    limit: formatLimit(stop.limit),
    used: formatCost(stop.posted),
    held: formatCost(stop.held),
    needed: formatCost(stop.needed),
  };
}

/** Which limit stopped the work, in a few words: "Task budget $0.50". */
export function limitName(stop: LimitStop): string {
  return t(`limit.meter.${stop.meter}`, {
    level: levelName(stop.level),
    limit: amounts(stop).limit,
  });
}

/** The whole story: which limit, how it stands, what the next step would have needed, and that nothing is lost. */
export function limitStory(stop: LimitStop): string {
  const { used, held, needed } = amounts(stop);
  const story = t("limit.story", { name: limitName(stop), used, held, needed });
  if (stop.resets_at === undefined) return story;
  return `${story} ${t("limit.resets", { at: formatDateTime(stop.resets_at) })}`;
}

/** What stops a task right now, in one line. */
export function parkedLine(parked: Parked): string {
  switch (parked.kind) {
    case "limit":
      return limitName(parked);
    case "question":
      return parked.question;
    case "child":
      return t("parked.child");
  }
}

/** The levels that a workspace can raise itself; the others are the operator's. */
export function raisable(
  stop: LimitStop,
): { level: "workspace" | "agent" | "task"; scopeId: string } | undefined {
  switch (stop.level) {
    case "workspace":
    case "agent":
    case "task":
      return { level: stop.level, scopeId: stop.scope_id };
    case "run":
    case "key":
    case "owner":
    case "platform":
      return undefined;
  }
}
