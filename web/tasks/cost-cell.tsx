import type { Task } from "@guildhall/sdk/contract/task.ts";
import { formatCost, formatLimit } from "../format/money.ts";
import { t } from "../messages/translate.ts";
import { MeterBar } from "../ui/meter-bar.tsx";
import styles from "./cost-cell.module.css";

/** A task's cost against its cap: figures and a bar that say the same. */
export function CostCell({ task }: { task: Task }) {
  const { spent_nano_usd: used, held_nano_usd: held } = task.usage;
  const limit = task.limits.cost_nano_usd;
  const amounts = { used: formatCost(used), held: formatCost(held), limit: formatLimit(limit) };
  return (
    <span className={styles["cost"]}>
      <span className="money">
        {amounts.used}
        <span className="dim"> / {amounts.limit}</span>
      </span>
      <MeterBar used={used} held={held} limit={limit} label={t("cost.label", amounts)} />
    </span>
  );
}
