import { Brain } from "lucide-react";
import type { ModelEntry } from "../../../../events/task-view.ts";
import { formatCost } from "../../../../format/money.ts";
import { formatCompact } from "../../../../format/number.ts";
import { formatDuration } from "../../../../format/time.ts";
import { t } from "../../../../messages/translate.ts";
import { Markdown } from "../../../../ui/markdown.tsx";
import { Step } from "./step.tsx";
import styles from "./transcript.module.css";

function title(entry: ModelEntry): string {
  switch (entry.status) {
    case "running":
      return entry.text === "" ? t("step.thinking") : t("step.writing");
    case "failed":
      return t("step.modelFailed");
    case "parked":
      return t("step.parked");
    case "interrupted":
      return t("step.interrupted");
    case "done":
      return entry.text === "" ? t("step.decided") : t("step.said");
  }
}

function Meta({ entry }: { entry: ModelEntry }) {
  const { outcome } = entry;
  return (
    <>
      {entry.tries > 1 && (
        <span title={t("step.tries", { count: entry.tries })}>↻{entry.tries}</span>
      )}
      {outcome?.replayed === true && (
        <span title={t("step.replayedTitle")}>{t("step.replayed")}</span>
      )}
      {outcome && <span>{formatDuration(outcome.durationMs)}</span>}
      {outcome ? (
        <span className="money">{formatCost(outcome.costNanoUsd)}</span>
      ) : (
        entry.status === "running" && (
          <span className="money" title={t("step.heldTitle")}>
            ≤{formatCost(entry.heldNanoUsd)}
          </span>
        )
      )}
    </>
  );
}

function Failure({ failure }: { failure: NonNullable<ModelEntry["failure"]> }) {
  return (
    <p className={styles["failure"]}>
      {failure.message} <code>{failure.code}</code>
      {failure.retryInMs !== null &&
        ` ${t("step.retryIn", { wait: formatDuration(failure.retryInMs) })}`}
    </p>
  );
}

/** A model call: what the agent says, as it streams, and what it costs. */
export function ModelStep({ entry }: { entry: ModelEntry }) {
  const { outcome, failure } = entry;
  const details =
    outcome &&
    t("step.modelDetails", {
      model: entry.model,
      input: formatCompact(
        outcome.usage.input_tokens +
          outcome.usage.cache_read_tokens +
          outcome.usage.cache_write_tokens,
      ),
      output: formatCompact(outcome.usage.output_tokens),
    });
  return (
    <Step
      number={entry.step}
      icon={<Brain size={14} />}
      title={title(entry)}
      meta={<Meta entry={entry} />}
      tone={entry.status === "failed" ? "failed" : entry.status === "running" ? "running" : "calm"}
      startsOpen={entry.status === "running" || entry.text !== "" || failure !== undefined}
    >
      {entry.status === "running" ? (
        <p className={styles["stream"]}>
          {entry.text}
          <span className={styles["caret"]} aria-hidden />
        </p>
      ) : (
        entry.text !== "" && <Markdown text={entry.text} />
      )}
      {failure && <Failure failure={failure} />}
      {details !== undefined && <p className={styles["details"]}>{details}</p>}
    </Step>
  );
}
