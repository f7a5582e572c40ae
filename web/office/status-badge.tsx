import {
  Check,
  CircleQuestionMark,
  Ellipsis,
  Hourglass,
  Layers,
  Pause,
  RotateCw,
  Square,
  Terminal,
  Unplug,
  X,
  type LucideIcon,
} from "lucide-react";
import { StateBadge, type Tone } from "../ui/state-badge.tsx";
import type { AgentStatus } from "./agent-status.ts";
import { statusLabel } from "./describe-status.ts";

const looks: Readonly<Record<AgentStatus["kind"], { tone: Tone; icon: LucideIcon }>> = {
  idle: { tone: "idle", icon: Square },
  queued: { tone: "idle", icon: Layers },
  thinking: { tone: "working", icon: Ellipsis },
  tool: { tone: "working", icon: Terminal },
  retrying: { tone: "working", icon: RotateCw },
  blocked: { tone: "blocked", icon: Hourglass },
  approval: { tone: "approval", icon: CircleQuestionMark },
  paused: { tone: "paused", icon: Pause },
  offline: { tone: "idle", icon: Unplug },
  error: { tone: "error", icon: X },
  done: { tone: "done", icon: Check },
};

export function StatusBadge({ status }: { status: AgentStatus }) {
  const { tone, icon: Icon } = looks[status.kind];
  return <StateBadge tone={tone} icon={<Icon size={14} />} label={statusLabel(status)} />;
}
