import { useMemo } from "react";
import { t } from "../../../../messages/translate.ts";
import { parseCsv } from "./csv.ts";
import styles from "./csv-table.module.css";

const maxRows = 200;

/** The first rows of a CSV file as a table. */
export function CsvTable({ text, separator }: { text: string; separator: string }) {
  const rows = useMemo(
    () => parseCsv(text, { separator, maxRows: maxRows + 2 }),
    [text, separator],
  );
  const [head, ...body] = rows;
  const shown = body.slice(0, maxRows);
  if (head === undefined) return <p className="dim">{t("csv.empty")}</p>;
  return (
    <>
      <table className={styles["table"]}>
        <thead>
          <tr>
            {head.map((cell, column) => (
              // oxlint-disable-next-line react/no-array-index-key -- columns may share a name
              <th key={column} scope="col">
                {cell}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row, index) => (
            // oxlint-disable-next-line react/no-array-index-key -- rows have no identity
            <tr key={index}>
              {row.map((cell, column) => (
                // oxlint-disable-next-line react/no-array-index-key -- see above
                <td key={column}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {body.length > maxRows && <p className="dim">{t("csv.first", { count: maxRows })}</p>}
    </>
  );
}
