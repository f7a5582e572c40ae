import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { formatCost } from "../../../format/money.ts";
import { formatCompact, formatCount } from "../../../format/number.ts";
import { t } from "../../../messages/translate.ts";
import { AgentName } from "../../../tasks/agent-name.tsx";
import styles from "./usage-page.module.css";

const number = styles["number"];

export function ByAgent({
  rows,
  nameOf,
}: {
  rows: Usage["by_agent"];
  nameOf: (id: string) => string;
}) {
  return (
    <section aria-labelledby="by-agent" className="panel">
      <h2 id="by-agent">{t("usage.byAgent")}</h2>
      {rows.length === 0 && <p className="dim">{t("usage.none")}</p>}
      {rows.length > 0 && (
        <div className={styles["scroll"]}>
          <table className={styles["table"]}>
            <thead>
              <tr>
                <th scope="col">{t("usage.agent")}</th>
                <th scope="col" className={number}>
                  {t("usage.tasks")}
                </th>
                <th scope="col" className={number}>
                  {t("usage.spent")}
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.agent_id}>
                  <th scope="row" title={nameOf(row.agent_id)}>
                    <AgentName id={row.agent_id} />
                  </th>
                  <td className={number}>{formatCount(row.tasks)}</td>
                  <td className={`money ${number ?? ""}`}>{formatCost(row.spent_nano_usd)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

export function ByModel({ rows }: { rows: Usage["by_model"] }) {
  return (
    <section aria-labelledby="by-model" className="panel">
      <h2 id="by-model">{t("usage.byModel")}</h2>
      {rows.length === 0 && <p className="dim">{t("usage.none")}</p>}
      {rows.length > 0 && (
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
        <div className={styles["scroll"]} tabIndex={0}>
          <table className={styles["table"]}>
            <thead>
              <tr>
                {(["model", "calls", "input", "cached", "output", "spent"] as const).map(
                  (column) => (
                    <th
                      key={column}
                      scope="col"
                      className={column === "model" ? undefined : number}
                    >
                      {t(`usage.${column}`)}
                    </th>
                  ),
                )}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.model}>
                  <th scope="row">
                    <code>{row.model}</code>
                  </th>
                  <td className={number}>{formatCount(row.calls)}</td>
                  <td className={number}>
                    {formatCompact(row.input_tokens + row.cache_write_tokens)}
                  </td>
                  <td className={number}>{formatCompact(row.cache_read_tokens)}</td>
                  <td className={number}>{formatCompact(row.output_tokens)}</td>
                  <td className={`money ${number ?? ""}`}>{formatCost(row.spent_nano_usd)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
