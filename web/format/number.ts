const plain = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat("en-US", { style: "percent", maximumFractionDigits: 0 });

export function formatCount(count: number): string {
  return plain.format(count);
}

/** 12.4K, for token counts. */
export function formatCompact(count: number): string {
  return compact.format(count);
}

export function formatPercent(part: number): string {
  return percent.format(part);
}

const units = ["B", "KB", "MB", "GB", "TB"];

/** 1.2 KB; units of 1,024 bytes. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
