import {
  Ban,
  Check,
  CircleQuestionMark,
  Ellipsis,
  Hourglass,
  Layers,
  Pause,
  X,
  type LucideIcon,
} from "lucide-react";
import type { Parked, TaskState } from "@guildhall/sdk/contract/task.ts";
import { t, type MessageKey } from "../messages/translate.ts";
import { StateBadge, type Tone } from "../ui/state-badge.tsx";

type Shown = { tone: Tone; icon: LucideIcon; label: Extract<MessageKey, `state.${string}`> };

const shownByState: Readonly<Record<TaskState, Shown>> = {
  queued: { tone: "idle", icon: Layers, label: "state.queued" },
  running: { tone: "working", icon: Ellipsis, label: "state.running" },
  waiting: { tone: "blocked", icon: Hourglass, label: "state.waiting" },
  paused: { tone: "paused", icon: Pause, label: "state.paused" },
  succeeded: { tone: "done", icon: Check, label: "state.succeeded" },
  failed: { tone: "error", icon: X, label: "state.failed" },
  cancelled: { tone: "idle", icon: Ban, label: "state.cancelled" },
};

const needsAnswer: Shown = { tone: "approval", icon: CircleQuestionMark, label: "state.question" };

function shown(state: TaskState, parked: Parked | null | undefined): Shown {
  return state === "waiting" && parked?.kind === "question" ? needsAnswer : shownByState[state];
}

/** A task's state in one word. */
export function taskStateLabel(state: TaskState, parked?: Parked | null): string {
  return t(shown(state, parked).label);
}

export function TaskStateBadge({
  state,
  parked,
}: {
  state: TaskState;
  parked?: Parked | null | undefined;
}) {
  const { tone, icon: Icon, label } = shown(state, parked);
  return <StateBadge tone={tone} icon={<Icon size={14} />} label={t(label)} />;
}

const ended: Readonly<Record<TaskState, boolean>> = {
  queued: false,
  running: false,
  waiting: false,
  paused: false,
  succeeded: true,
  failed: true,
  cancelled: true,
};

/** True when nothing more will happen to a task in this state. */
export function hasEnded(state: TaskState): boolean {
  return ended[state];
}

/** Every state, in the order of a task's life. */
export const allStates = [
  "queued",
  "running",
  "waiting",
  "paused",
  "succeeded",
  "failed",
  "cancelled",
] as const satisfies readonly TaskState[];
