/**
 * The simulator's tokenizer: whole characters are packed greedily into tokens of at most four UTF-8
 * bytes. For ASCII that is `ceil(bytes / 4)`. A token has at least one byte, so tokens never exceed
 * bytes, the property on which a hold by bytes rests; and a text can be cut at any token.
 */
const MAX_TOKEN_BYTES = 4;

/** Media are counted at constants, whatever their size. */
export const IMAGE_TOKENS = 1_600;
export const DOCUMENT_TOKENS = 3_000;

function characterBytes(codePoint: number): number {
  if (codePoint < 0x80) return 1;
  if (codePoint < 0x800) return 2;
  return codePoint < 0x10000 ? 3 : 4;
}

/** Walks the tokens of a text and stops after `limit`; returns how many there were and where they end. */
function walk(text: string, limit: number): { tokens: number; end: number } {
  let tokens = 0;
  let room = 0;
  let end = 0;
  for (const character of text) {
    const bytes = characterBytes(character.codePointAt(0) ?? 0);
    if (bytes > room) {
      if (tokens === limit) return { tokens, end };
      tokens += 1;
      room = MAX_TOKEN_BYTES;
    }
    room -= bytes;
    end += character.length;
  }
  return { tokens, end };
}

/** Counts the tokens of a text. */
export function countTokens(text: string): number {
  // Bodies reach 32 MB and are nearly always ASCII, where no walk is needed.
  if (Buffer.byteLength(text) === text.length) return Math.ceil(text.length / MAX_TOKEN_BYTES);
  return walk(text, Number.POSITIVE_INFINITY).tokens;
}

/** Cuts a text after at most `limitTokens` tokens. */
export function takeTokens(text: string, limitTokens: number): string {
  return text.slice(0, walk(text, limitTokens).end);
}
