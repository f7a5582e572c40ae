/** A Markdown table; bars inside cells are escaped. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map((row) => line(row))].join("\n");
}

/** A Markdown list, or a sentence when there is nothing to list. */
export function bullets(items: readonly string[], none: string): string {
  return items.length === 0 ? none : items.map((item) => `- ${item}`).join("\n");
}

/** A number for people: grouped, at most four decimals. */
export function figure(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  return value.toLocaleString("en-US", { maximumFractionDigits: 4 });
}

/** `1 row`, `2 rows`. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? noun : `${noun}s`}`;
}

/**
 * Joins the sections of a file and leaves the last ones out, saying so, when they would not fit into
 * what one answer may carry: a call cut in its middle would write nothing at all.
 */
export function fitSections(sections: readonly string[], limitBytes: number): string {
  const kept: string[] = [];
  let room = limitBytes - 160;
  for (const section of sections) {
    room -= Buffer.byteLength(section) + 2;
    if (room < 0 && kept.length > 0) break;
    kept.push(section);
  }
  const left = sections.length - kept.length;
  if (left > 0)
    kept.push(
      `_${counted(left, "further section")} left out: the answer's token limit was reached._`,
    );
  return `${kept.join("\n\n")}\n`;
}
