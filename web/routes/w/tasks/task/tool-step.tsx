import { Wrench } from "lucide-react";
import type { ToolEntry } from "../../../../events/task-view.ts";
import { formatDuration } from "../../../../format/time.ts";
import { t } from "../../../../messages/translate.ts";
import { toolLine } from "../../../../tasks/tool-line.ts";
import { Step } from "./step.tsx";
import styles from "./transcript.module.css";

function openLabel(status: ToolEntry["status"]): string {
  if (status === "running") return t("step.running");
  return status === "parked" ? t("step.parked") : t("step.interrupted");
}

const tones = {
  running: "running",
  parked: "calm",
  done: "calm",
  failed: "failed",
  unknown: "unknown",
  interrupted: "calm",
} as const satisfies Record<ToolEntry["status"], string>;

/** A tool call; opened, it shows what was asked and what came back, as plain text. */
export function ToolStep({ entry }: { entry: ToolEntry }) {
  const { outcome } = entry;
  return (
    <Step
      number={entry.step}
      icon={<Wrench size={14} />}
      title={
        <>
          {toolLine(entry.name, entry.input)}
          {outcome && outcome.summary !== "" && (
            <span className={styles["summary"]}>{outcome.summary}</span>
          )}
        </>
      }
      meta={
        outcome ? (
          <>
            {entry.status === "failed" && <span>{t("step.toolFailed")}</span>}
            {entry.status === "unknown" ? (
              <span>{t("step.toolUnknown")}</span>
            ) : (
              <span>{formatDuration(outcome.durationMs)}</span>
            )}
          </>
        ) : (
          <span>{openLabel(entry.status)}</span>
        )
      }
      tone={tones[entry.status]}
      startsOpen={false}
    >
      <h3 className={styles["label"]}>{t("step.input")}</h3>
      <Plain text={`${entry.name} ${JSON.stringify(entry.input, undefined, 2)}`} />
      {outcome && entry.status !== "unknown" && (
        <>
          <h3 className={styles["label"]}>{t("step.result")}</h3>
          <Plain text={outcome.preview} />
        </>
      )}
    </Step>
  );
}

function Plain({ text }: { text: string }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
    <pre tabIndex={0} className={styles["plain"]}>
      {text}
    </pre>
  );
}
