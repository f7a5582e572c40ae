import { Check, CircleAlert, OctagonX, TriangleAlert, type LucideIcon } from "lucide-react";
import type { LimitRow } from "@guildhall/sdk/contract/limit.ts";
import { formatDateTime } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { openDialog } from "../../../shell/dialogs.ts";
import { limitAnchor, raisersText } from "../../../tasks/limit-text.ts";
import { targetOfRow } from "../../../tasks/limit-target.ts";
import { meterAmount, meterLimit } from "../../../tasks/meter-amount.ts";
import { Button } from "../../../ui/button.tsx";
import { MeterBar } from "../../../ui/meter-bar.tsx";
import {
  EACH_NEW_TASK,
  meterName,
  rowName,
  scopeName,
  statusText,
  windowText,
} from "./limit-words.ts";
import { WaitingList } from "./waiting-list.tsx";
import styles from "./limits-page.module.css";

const icons: Readonly<Record<LimitRow["status"], LucideIcon>> = {
  ok: Check,
  warn: TriangleAlert,
  high: CircleAlert,
  stopped: OctagonX,
};

function Use({ row }: { row: LimitRow }) {
  const used = meterAmount(row.meter, row.used);
  const held = meterAmount(row.meter, row.held);
  const isShared = row.level === "owner" || row.level === "platform";
  const limit =
    row.max === null
      ? t(isShared ? "limits.shared" : "budget.noLimit")
      : meterLimit(row.meter, row.max);
  // The default of new tasks is no balance: there is nothing that was used of it.
  const isDefault = row.scope_id === EACH_NEW_TASK;
  return (
    <>
      <span className="money">
        {isDefault ? t("none") : used}
        {row.held > 0 && ` + ${held}`}
        <span className="dim"> / {limit}</span>
      </span>
      {row.temporary !== null && (
        <span className="dim">
          {t("limits.temporary", {
            at: formatDateTime(row.temporary.ends_at),
            limit:
              row.temporary.former === null
                ? t("budget.noLimit")
                : meterLimit(row.meter, row.temporary.former),
          })}
        </span>
      )}
      {row.max !== null && !isDefault && (
        <>
          <MeterBar
            used={row.used}
            held={row.held}
            limit={row.max}
            label={t("limits.use.label", { used, held, limit })}
          />
          <span className="dim">
            {t("limits.left", { left: meterLimit(row.meter, row.left ?? 0) })}
          </span>
        </>
      )}
    </>
  );
}

/** One limit, and below it what waits for it. */
export function LimitTableRow({ row, onHistory }: { row: LimitRow; onHistory: () => void }) {
  const Icon = icons[row.status];
  const name = rowName(row);
  const target = targetOfRow(row, scopeName(row));
  const isWaitedFor = row.waiting_count > 0;
  return (
    <tr id={limitAnchor(row)} className={styles["row"]} data-status={row.status} tabIndex={-1}>
      <th scope="row" className={styles["name"]}>
        {row.level !== "workspace" && <span>{scopeName(row)}</span>}
        <span>{meterName(row.meter)}</span>
      </th>
      <td className={styles["window"]}>{windowText(row)}</td>
      <td className={styles["use"]}>
        <Use row={row} />
      </td>
      <td className={styles["hit"]}>{t(`limits.hit.${row.on_hit}`)}</td>
      <td>
        {row.scope_id === EACH_NEW_TASK ? (
          <span className="dim">{t("none")}</span>
        ) : (
          <span className={styles["status"]} data-status={row.status}>
            <Icon size={16} aria-hidden />
            {statusText(row)}
          </span>
        )}
      </td>
      <td className={styles["actions"]}>
        {target !== undefined && (
          <Button
            look={isWaitedFor ? "primary" : "plain"}
            aria-label={t(isWaitedFor ? "limits.raiseName" : "limits.changeName", { name })}
            onClick={() => openDialog({ kind: "raise-limit", target })}
          >
            {t(isWaitedFor ? "limits.raise" : "limits.change")}
          </Button>
        )}
        {row.version !== null && (
          <Button look="ghost" aria-label={t("limits.historyName", { name })} onClick={onHistory}>
            {t("limits.history")}
          </Button>
        )}
      </td>
      {(isWaitedFor || row.status === "stopped") && (
        <td className={styles["below"]} colSpan={6}>
          <WaitingList tasks={row.waiting} count={row.waiting_count} meter={row.meter} />
          {row.raised_by.length > 0 && (
            <p className="dim">{t("limits.raisedBy", { who: raisersText(row.raised_by) })}</p>
          )}
        </td>
      )}
    </tr>
  );
}
