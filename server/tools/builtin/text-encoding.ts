import type { FileHandle } from "node:fs/promises";

export type TextEncoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";

const sampleBytes = 64 * 1024;

function decodesAs(encoding: TextEncoding, sample: Uint8Array): boolean {
  try {
    // `stream`: the sample may end inside a character.
    new TextDecoder(encoding, { fatal: true }).decode(sample, { stream: true });
    return true;
  } catch {
    return false;
  }
}

function countControls(sample: Uint8Array): number {
  let count = 0;
  for (const byte of sample) {
    const isLayout = byte === 9 || byte === 10 || byte === 12 || byte === 13 || byte === 27;
    if (byte < 32 && !isLayout) count += 1;
  }
  return count;
}

/**
 * Guesses the encoding from the start of a file; undefined means that it is no text. A file that is
 * not UTF-8 is taken for Windows-1252, which every byte decodes to, as long as it has no more than
 * one control character in a hundred.
 */
export function guessEncoding(sample: Uint8Array): TextEncoding | undefined {
  if (sample[0] === 0xff && sample[1] === 0xfe) return "utf-16le";
  if (sample[0] === 0xfe && sample[1] === 0xff) return "utf-16be";
  if (sample.includes(0)) return undefined;
  if (countControls(sample) * 100 > sample.length) return undefined;
  return decodesAs("utf-8", sample) ? "utf-8" : "windows-1252";
}

/** The first bytes of an open file, without moving its position. */
export async function readSample(handle: FileHandle): Promise<Uint8Array> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(sampleBytes), 0, sampleBytes, 0);
  return buffer.subarray(0, bytesRead);
}
