import {
  Ban,
  Check,
  CircleQuestionMark,
  FileText,
  Flag,
  Hourglass,
  Mail,
  Pause,
  Play,
  RotateCw,
  Unplug,
  Users,
  X,
  type LucideIcon,
} from "lucide-react";
import type { Note } from "../../../../events/task-view.ts";
import { formatBytes } from "../../../../format/number.ts";
import { formatClock } from "../../../../format/time.ts";
import { t } from "../../../../messages/translate.ts";
import { useAgentName } from "../../../../tasks/agent-name.tsx";
import { parkedLine } from "../../../../tasks/limit-text.ts";
import styles from "./transcript.module.css";

const icons: Readonly<Record<Note["type"], LucideIcon>> = {
  created: Flag,
  claimed: Play,
  resumed: RotateCw,
  released: Pause,
  lease_lost: Unplug,
  artifact: FileText,
  message: Mail,
  delegated: Users,
  answered: CircleQuestionMark,
  waiting: Hourglass,
  paused: Pause,
  succeeded: Check,
  failed: X,
  cancelled: Ban,
};

type Names = { from: string; to: string };

/** The agents that a note speaks of, by id. */
function agentsOf(note: Note): Names {
  switch (note.type) {
    case "message":
      return { from: note.fromAgentId, to: note.toAgentId };
    case "delegated":
      return { from: "", to: note.agentId };
    case "created":
      return { from: "", to: note.agentId };
    default:
      return { from: "", to: "" };
  }
}

function noteText(note: Note, names: Names): string {
  switch (note.type) {
    case "created":
      return t("note.created", { agent: names.to });
    case "claimed":
      return note.attempt > 1
        ? t("note.claimedAgain", { attempt: note.attempt })
        : t("note.claimed");
    case "resumed":
      return t("note.resumed", { step: note.fromStep });
    case "released":
      return note.reason === "attempt_failed"
        ? t("note.attemptFailed")
        : t("note.released", { reason: note.reason });
    case "lease_lost":
      return t("note.leaseLost");
    case "artifact":
      return t("note.artifact", { path: note.path, size: formatBytes(note.sizeBytes) });
    case "message":
      return t("note.message", { ...names, subject: note.subject });
    case "delegated":
      return t("note.delegated", { to: names.to, prompt: note.prompt });
    case "answered":
      return t("note.answered", { answer: note.answer });
    case "waiting":
      return t("note.waiting", { why: parkedLine(note.parked) });
    case "paused":
      return t("note.paused", { why: parkedLine(note.parked) });
    case "succeeded":
      return t("note.succeeded");
    case "failed":
      return t("note.failed", { message: note.message });
    case "cancelled":
      return t("note.cancelled");
  }
}

export function NoteLine({ note, at }: { note: Note; at: string }) {
  const ids = agentsOf(note);
  const from = useAgentName(ids.from);
  const to = useAgentName(ids.to);
  const Icon = icons[note.type];
  return (
    <p className={styles["note"]}>
      <time dateTime={at} className={styles["clock"]}>
        {formatClock(at)}
      </time>
      <Icon size={14} aria-hidden className={styles["icon"]} />
      <span>{noteText(note, { from, to })}</span>
    </p>
  );
}
