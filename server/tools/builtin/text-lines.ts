import type { FileHandle } from "node:fs/promises";
import type { TextEncoding } from "./text-encoding.ts";

const chunkBytes = 256 * 1024;

/**
 * A line, or a piece of one that is longer than `pieceLength`: pieces of one line have the same
 * `number` and count up in `piece`.
 */
export type TextLine = { number: number; piece: number; text: string };

type Reading = {
  handle: FileHandle;
  encoding: TextEncoding;
  signal: AbortSignal;
  /** In UTF-16 units: what is held of a single line, however long it is. */
  pieceLength: number;
  /** How much of a piece is repeated at the start of the next, so that no match falls between. */
  overlapLength: number;
};

async function* decodedChunks({ handle, encoding, signal }: Reading): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding);
  const buffer = Buffer.alloc(chunkBytes);
  let position = 0;
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, chunkBytes, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    yield decoder.decode(buffer.subarray(0, bytesRead), { stream: true });
  }
  yield decoder.decode();
}

function withoutCarriageReturn(text: string): string {
  return text.endsWith("\r") ? text.slice(0, -1) : text;
}

/**
 * The lines of a text file in batches, in memory that does not grow with the file or with its
 * longest line. A line break at the very end starts no further line; an empty file has no lines.
 */
export async function* readLineBatches(reading: Reading): AsyncGenerator<TextLine[]> {
  const { pieceLength, overlapLength } = reading;
  let number = 1;
  let piece = 0;
  let rest = "";
  for await (const chunk of decodedChunks(reading)) {
    const batch: TextLine[] = [];
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      batch.push({ number, piece, text: withoutCarriageReturn(part) });
      number += 1;
      piece = 0;
    }
    if (rest.length > pieceLength) {
      batch.push({ number, piece, text: rest });
      piece += 1;
      rest = overlapLength === 0 ? "" : rest.slice(-overlapLength);
    }
    if (batch.length > 0) yield batch;
  }
  if (rest !== "" || piece > 0) yield [{ number, piece, text: rest }];
}
