import { useSuspenseQuery } from "@tanstack/react-query";
import type { LimitRow } from "@guildhall/sdk/contract/limit.ts";
import { meQuery } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { limitAnchor } from "../../../tasks/limit-text.ts";
import { AgentLimitForm } from "./agent-limit-form.tsx";
import { isInGroup, limitGroups, type LimitGroup } from "./limit-words.ts";
import { LimitTableRow } from "./limit-table-row.tsx";
import styles from "./limits-page.module.css";

const columns = ["name", "window", "use", "hit", "status", "actions"] as const;

const emptyTexts: Readonly<Partial<Record<LimitGroup, string>>> = {
  agent: t("limits.none.agent"),
  key: t("limits.none.key"),
  above: t("limits.none.above"),
};

function Group({
  group,
  rows,
  onHistory,
}: {
  group: LimitGroup;
  rows: readonly LimitRow[];
  onHistory: (row: LimitRow) => void;
}) {
  const { data: me } = useSuspenseQuery(meQuery);
  const budgeted = rows.filter((row) => row.meter === "model_cost").map((row) => row.scope_id);
  const empty = emptyTexts[group];
  return (
    <tbody>
      <tr className={styles["group"]}>
        <th scope="rowgroup" colSpan={columns.length}>
          <div className={styles["group-head"]}>
            <h2>{t(`limits.group.${group}`)}</h2>
            {group === "agent" && me.scopes.includes("limits:write") && (
              <AgentLimitForm limited={new Set(budgeted)} />
            )}
          </div>
        </th>
      </tr>
      {rows.map((row) => (
        <LimitTableRow key={limitAnchor(row)} row={row} onHistory={() => onHistory(row)} />
      ))}
      {rows.length === 0 && empty !== undefined && (
        <tr className={styles["none"]}>
          <td colSpan={columns.length} className="dim">
            {empty}
          </td>
        </tr>
      )}
    </tbody>
  );
}

/** All limits, in groups by whose they are. */
export function LimitTable({
  rows,
  onHistory,
}: {
  rows: readonly LimitRow[];
  onHistory: (row: LimitRow) => void;
}) {
  return (
    <table className={styles["table"]}>
      <caption className="visually-hidden">{t("limits.table")}</caption>
      <thead>
        <tr className={styles["head"]}>
          {columns.map((column) => (
            <th key={column} scope="col">
              {column === "actions" ? (
                <span className="visually-hidden">{t("limits.column.actions")}</span>
              ) : (
                t(`limits.column.${column}`)
              )}
            </th>
          ))}
        </tr>
      </thead>
      {limitGroups.map((group) => (
        <Group
          key={group}
          group={group}
          rows={rows.filter((row) => isInGroup(row, group))}
          onHistory={onHistory}
        />
      ))}
    </table>
  );
}
