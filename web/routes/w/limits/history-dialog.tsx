import type { LimitRow } from "@guildhall/sdk/contract/limit.ts";
import { formatDateTime } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { meterLimit } from "../../../tasks/meter-amount.ts";
import { Dialog } from "../../../ui/dialog.tsx";
import { meterName, scopeName } from "./limit-words.ts";
import styles from "./limits-page.module.css";

/** Who changed a limit when, newest first. */
export function HistoryDialog({ row, onClose }: { row: LimitRow; onClose: () => void }) {
  const title = t("history.title", { name: scopeName(row), meter: meterName(row.meter) });
  return (
    <Dialog title={title} onClose={onClose} wide>
      {row.changes.length === 0 && <p className="dim">{t("history.none")}</p>}
      {row.changes.length > 0 && (
        <div className={styles["scroll"]}>
          <table className={styles["plain"]}>
            <thead>
              <tr>
                <th scope="col">{t("history.version")}</th>
                <th scope="col">{t("history.amount")}</th>
                <th scope="col">{t("history.by")}</th>
                <th scope="col">{t("history.at")}</th>
              </tr>
            </thead>
            <tbody>
              {row.changes.map((change) => (
                <tr key={change.version}>
                  <th scope="row">{change.version}</th>
                  <td className="money">
                    {change.amount === null
                      ? t("budget.noLimit")
                      : meterLimit(row.meter, change.amount)}
                  </td>
                  <td title={change.changed_by}>{change.changed_by_name}</td>
                  <td>
                    <time dateTime={change.changed_at}>{formatDateTime(change.changed_at)}</time>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Dialog>
  );
}
