/**
 * Rows of a CSV text after RFC 4180, generous in what it takes: any line end, quotes that never close, rows of any
 * width. Stops after `maxRows`, so that a large file costs no more than what is shown.
 */
export function parseCsv(text: string, { separator, maxRows }: CsvOptions): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = "";
  let quoted = false;
  const start = text.startsWith("\uFEFF") ? 1 : 0;

  function endRow(): void {
    row.push(field);
    if (row.length > 1 || field !== "") rows.push(row);
    row = [];
    field = "";
  }

  for (let at = start; at < text.length && rows.length < maxRows; at++) {
    const character = text.charAt(at);
    if (quoted) {
      if (character !== '"') field += character;
      else if (text.charAt(at + 1) === '"') field += text.charAt(at++);
      else quoted = false;
    } else if (character === '"' && field === "") {
      quoted = true;
    } else if (character === separator) {
      row.push(field);
      field = "";
    } else if (character === "\n" || character === "\r") {
      if (character === "\r" && text.charAt(at + 1) === "\n") at++;
      endRow();
    } else {
      field += character;
    }
  }
  if (rows.length < maxRows) endRow();
  return rows;
}

export type CsvOptions = { separator: string; maxRows: number };
