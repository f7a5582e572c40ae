import { randomFillSync } from "node:crypto";

const PIECES = 256;

/**
 * Random bytes by the piece, each given out once: for hot paths, where asking the system for a few costs more than what
 * they are for. -> the next piece, which holds only until the next call
 */
export function randomPool(pieceBytes: number): () => Buffer {
  const pool = Buffer.alloc(pieceBytes * PIECES);
  let used = pool.length;
  return () => {
    if (used === pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    used += pieceBytes;
    return pool.subarray(used - pieceBytes, used);
  };
}
