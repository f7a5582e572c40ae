import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../errors.ts";
import { hasCode } from "../system-error.ts";
import { storageFull, type LocalFile } from "./object-store.ts";

export type Source = { stream: AsyncIterable<Uint8Array>; maxBytes: number };

/** An unfinished write this old belongs to a process that is gone. */
const ABANDONED_AFTER_MS = 24 * 3_600_000;

function tooLarge(maxBytes: number): AppError {
  return new AppError({
    code: "file_too_large",
    status: 413,
    publicMessage: `The file is larger than ${maxBytes} bytes.`,
    hint: "Send a smaller file.",
  });
}

/** Writes the stream to a new file and makes it durable, hashing as it goes. */
async function writeHashed(path: string, source: Source): Promise<LocalFile> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const file = await open(path, "wx", 0o600);
  try {
    for await (const chunk of source.stream) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > source.maxBytes) throw tooLarge(source.maxBytes);
      hash.update(chunk);
      // writeFile on a handle goes on at its position and repeats short writes.
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { path, sha256: hash.digest("hex"), sizeBytes };
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs;
    if (age > ABANDONED_AFTER_MS) await rm(path, { force: true });
  }
}

/**
 * Where contents wait on this machine until they are whole: their name follows from their bytes, and a service wants to
 * know their length first. -> writes a source there; the caller removes the file.
 */
export function createSpool(folder: string): (source: Source) => Promise<LocalFile> {
  let prepared: Promise<void> | undefined;

  async function prepare(): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await removeAbandoned(folder);
  }

  return async (source) => {
    prepared ??= prepare();
    try {
      await prepared;
    } catch (error) {
      prepared = undefined;
      throw error;
    }
    const path = join(folder, randomBytes(16).toString("hex"));
    try {
      return await writeHashed(path, source);
    } catch (error) {
      await rm(path, { force: true });
      throw hasCode(error, "ENOSPC", "EDQUOT") ? storageFull(error) : error;
    }
  };
}
