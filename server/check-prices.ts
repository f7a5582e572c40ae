import { priceListJson } from "@guildhall/simulator/metering/prices.ts";
import { checkPrices, type PriceFinding } from "./gateway/request/price-check.ts";
import { priceLists } from "./gateway/request/price-table.ts";
import { loadPublished, parsePublished } from "./gateway/request/published-prices.ts";

/** How the price table stands. `ok` is false when any finding is an error. */
export type PriceReport = {
  ok: boolean;
  /** All versions, the oldest first; calls are made with the last. */
  versions: readonly { version: string; models: number }[];
  findings: readonly PriceFinding[];
};

/**
 * Checks the price table: in itself, against the simulated provider's own list, for the age of its sources, and
 * against a published list where one is given (`against`: a file or a URL). Throws `price_list_unreadable`.
 */
export async function reportPrices(options: {
  against: string | undefined;
  maxAgeDays: number;
  today: string;
}): Promise<PriceReport> {
  const simulated = parsePublished("the simulated provider's list", priceListJson());
  const published = options.against === undefined ? [] : [await loadPublished(options.against)];
  const findings = checkPrices({
    lists: priceLists,
    published: [
      { ...simulated, complete: true },
      ...published.map((list) => ({ ...list, complete: false })),
    ],
    today: options.today,
    maxAgeDays: options.maxAgeDays,
  });
  return {
    ok: findings.every(({ level }) => level !== "error"),
    versions: priceLists.map(({ version, prices }) => ({ version, models: prices.length })),
    findings,
  };
}

/** The report for people, one line per finding. */
export function renderPrices({ ok, versions, findings }: PriceReport): string {
  const newest = versions.at(-1);
  const lines = findings.map(
    ({ level, version, model, message }) =>
      `${level === "error" ? "✖" : "▸"} ${version}${model === undefined ? "" : ` ${model}`}: ${message}`,
  );
  if (ok)
    lines.push(
      `✓ ${versions.length} versions; ${newest?.models ?? 0} models are priced since ${newest?.version ?? "never"}`,
    );
  return `${lines.join("\n")}\n`;
}
