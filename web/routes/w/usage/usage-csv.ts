import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { exactUsd } from "../../../format/money.ts";

/** A field for spreadsheets: quoted, and never read as a formula. */
function cell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const inert = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(inert) || inert !== value ? `"${inert.replaceAll('"', '""')}"` : inert;
}

/** The whole report as one CSV: a row per day, agent and model. Dollars with every digit. */
export function usageCsv(usage: Usage): string {
  const rows: (string | number)[][] = [
    [
      "group",
      "name",
      "tasks",
      "calls",
      "input_tokens",
      "cache_read_tokens",
      "cache_write_tokens",
      "output_tokens",
      "spent_usd",
    ],
    ...usage.by_day.map((row) => [
      "day",
      row.day,
      row.tasks,
      "",
      "",
      "",
      "",
      "",
      exactUsd(row.spent_nano_usd),
    ]),
    ...usage.by_agent.map((row) => [
      "agent",
      row.agent_id,
      row.tasks,
      "",
      "",
      "",
      "",
      "",
      exactUsd(row.spent_nano_usd),
    ]),
    ...usage.by_model.map((row) => [
      "model",
      row.model,
      "",
      row.calls,
      row.input_tokens,
      row.cache_read_tokens,
      row.cache_write_tokens,
      row.output_tokens,
      exactUsd(row.spent_nano_usd),
    ]),
  ];
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
