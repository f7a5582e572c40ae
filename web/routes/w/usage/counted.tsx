import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { formatBytes, formatCount } from "../../../format/number.ts";
import { formatDuration } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import styles from "./usage-page.module.css";

type Row = Usage["counted"][number];

function amountOf({ meter, used }: Row): string {
  if (meter === "storage_bytes") return formatBytes(used);
  return meter === "socket_time" ? formatDuration(used) : formatCount(used);
}

/** What is counted and has no limit. */
export function Counted({ rows }: { rows: readonly Row[] }) {
  return (
    <section aria-labelledby="counted" className="panel">
      <h2 id="counted">{t("usage.counted")}</h2>
      <div className={styles["scroll"]}>
        <table className={styles["table"]}>
          <thead>
            <tr>
              <th scope="col">{t("usage.meter")}</th>
              <th scope="col" className={styles["number"]}>
                {t("usage.amount")}
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.meter}>
                <th scope="row">{t(`counted.${row.meter}`)}</th>
                <td className={styles["number"]}>{amountOf(row)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
