const NANO_PER_USD = 1_000_000_000;
/** From here on four decimals would show $1.0000. */
const ROUNDS_TO_A_DOLLAR = 999_950_000;

/** Money for people: four decimals below a dollar, two above. Below a hundredth of a cent it says so. */
export function usd(nanoUsd: number): string {
  if (nanoUsd > 0 && nanoUsd < 100_000) return "<$0.0001";
  return `$${(nanoUsd / NANO_PER_USD).toFixed(nanoUsd < ROUNDS_TO_A_DOLLAR ? 4 : 2)}`;
}

/** Dollars of a command line to nano-USD, without going through a float. Undefined when it is no amount. */
export function parseUsd(text: string): number | undefined {
  const match = /^\$?(\d{1,6})(?:\.(\d{1,9}))?$/.exec(text.trim());
  if (!match) return undefined;
  const [, whole = "0", fraction = ""] = match;
  return Number(whole) * NANO_PER_USD + Number(fraction.padEnd(9, "0"));
}

/** Milliseconds as `850 ms`, `12 s`, `3 min 5 s`, `2 h 4 min`. */
export function duration(ms: number): string {
  if (Math.round(ms) < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1 tool call`, `2 tool calls`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

const BYTE_UNITS = ["KB", "MB", "GB", "TB"];

/** 1.2 KB; units of 1,024 bytes. */
export function bytes(count: number): string {
  if (count < 1_024) return `${count} B`;
  let value = count / 1_024;
  let unit = 0;
  // From here on a decimal would round to 1024.0.
  while (value >= 1_023.95 && unit < BYTE_UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

/**
 * Text of others, made harmless for a terminal: control characters (and so escape sequences) are removed, and what
 * turns the direction of writing, by which a file name can pretend to be another.
 */
export function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex -- removing them is the point
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "");
}

const oneLine = (cell: string): string => plain(cell).replace(/[\n\t]+/g, " ");

/** Left-aligned columns, two spaces between them. Cells may be text of others. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map(oneLine));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => (row[column] ?? "").length)),
  );
  return [header, ...cells]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
