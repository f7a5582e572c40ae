import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import type { TaskView } from "../../../../events/task-view.ts";
import { exactUsd, formatCost, formatLimit } from "../../../../format/money.ts";
import { formatCompact, formatCount } from "../../../../format/number.ts";
import { t } from "../../../../messages/translate.ts";
import { taskMoney } from "../../../../tasks/task-money.ts";
import { hasEnded } from "../../../../tasks/task-state.tsx";
import { MeterBar } from "../../../../ui/meter-bar.tsx";
import styles from "./cost-ticker.module.css";

function Amount({ nanoUsd, label, sign }: { nanoUsd: number; label: string; sign?: string }) {
  return (
    <div className={styles["amount"]}>
      <dt>{label}</dt>
      <dd className="money" title={`$${exactUsd(nanoUsd)}`}>
        {sign}
        {formatCost(nanoUsd)}
      </dd>
    </div>
  );
}

/** What the task costs, as it happens: settled, reserved for the call that runs, and left. */
export function CostTicker({ task, view }: { task: TaskDetail; view: TaskView }) {
  const money = taskMoney(task, view);
  const usage = task.last_seq >= view.lastSeq ? task.usage : view.usage;
  const cached = usage.cache_read_tokens;
  const label = t("cost.label", {
    used: formatCost(money.spentNanoUsd),
    held: formatCost(money.heldNanoUsd),
    limit: formatLimit(money.limitNanoUsd),
  });
  return (
    <section aria-labelledby="cost" className={`panel ${styles["ticker"]}`}>
      <h2 id="cost">{t("cost.title")}</h2>
      <dl className={styles["amounts"]}>
        <Amount nanoUsd={money.spentNanoUsd} label={t("cost.spent")} />
        {!hasEnded(task.state) && (
          <Amount
            nanoUsd={money.heldNanoUsd}
            label={t("cost.held")}
            {...(money.heldNanoUsd > 0 ? { sign: "+" } : {})}
          />
        )}
        <Amount
          nanoUsd={money.leftNanoUsd}
          label={t("cost.left", { limit: formatLimit(money.limitNanoUsd) })}
        />
      </dl>
      <MeterBar
        used={money.spentNanoUsd}
        held={money.heldNanoUsd}
        limit={money.limitNanoUsd}
        label={label}
      />
      <p className="dim">
        {t("cost.tokens", {
          input: formatCompact(usage.input_tokens + cached + usage.cache_write_tokens),
          cached: formatCompact(cached),
          output: formatCompact(usage.output_tokens),
        })}
      </p>
      <p className="dim">
        {t("cost.calls", {
          models: formatCount(Math.max(task.usage.model_calls, view.modelCalls)),
          tools: formatCount(Math.max(task.usage.tool_calls, view.toolCalls)),
        })}
      </p>
    </section>
  );
}
