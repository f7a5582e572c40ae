/** What one tool result may add to the conversation: every later model call pays for it again. */
export const maxResultBytes = 64 * 1024;

const noteReserveBytes = 200;

export function byteLength(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

/** The longest start of `text` with at most `maxBytes`, never ending inside a character. */
export function cutToBytes(text: string, maxBytes: number): string {
  if (byteLength(text) <= maxBytes) return text;
  const bytes = Buffer.from(text, "utf8");
  let end = maxBytes;
  // 10xxxxxx continues a character: step back to its first byte.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString("utf8", 0, end);
}

/** Cuts a result that is too long and says so at its end. */
export function capText(text: string): string {
  const totalBytes = byteLength(text);
  if (totalBytes <= maxResultBytes) return text;
  const kept = cutToBytes(text, maxResultBytes - noteReserveBytes);
  return `${kept}\n[cut here: the result has ${totalBytes} bytes, ${byteLength(kept)} of them are shown. Ask for a smaller part.]`;
}

/**
 * The longest start of `items` whose JSON, together with `frameBytes` for what surrounds them, fits
 * in one result, so that a long result stays valid JSON.
 */
export function fitItems<T>(items: readonly T[], frameBytes = 1024): T[] {
  const kept: T[] = [];
  let usedBytes = frameBytes;
  for (const item of items) {
    usedBytes += byteLength(JSON.stringify(item)) + 1;
    if (usedBytes > maxResultBytes) break;
    kept.push(item);
  }
  return kept;
}

/** `text` in at most `maxLength` UTF-16 units, with an ellipsis when it was cut. */
export function shorten(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  return `${text.slice(0, maxLength - 1).toWellFormed()}…`;
}
