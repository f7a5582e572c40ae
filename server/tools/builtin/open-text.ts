import { toolError } from "../errors.ts";
import type { OpenFile, RunFolder } from "../run-folder.ts";
import { guessEncoding, readSample, type TextEncoding } from "./text-encoding.ts";

export type OpenText = OpenFile & { encoding: TextEncoding };

/** Opens a file if it is text; undefined for a binary one. The caller closes `handle`. */
export async function openIfText(folder: RunFolder, path: string): Promise<OpenText | undefined> {
  const file = await folder.openForRead(path);
  try {
    const encoding = guessEncoding(await readSample(file.handle));
    if (encoding !== undefined) return { ...file, encoding };
  } catch (error) {
    await file.handle.close();
    throw error;
  }
  await file.handle.close();
  return undefined;
}

/** Like `openIfText`; a binary file is the error `file_not_text`. */
export async function openText(folder: RunFolder, path: string): Promise<OpenText> {
  const file = await openIfText(folder, path);
  if (file !== undefined) return file;
  throw toolError({
    code: "file_not_text",
    publicMessage: `"${path}" is a binary file, not text.`,
    hint: "For tables in CSV, JSON or Parquet use profile_data.",
  });
}
