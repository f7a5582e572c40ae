import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { UsageError } from "./exit.ts";

/** How a program reaches an installation. */
export const credentialSchema = z.object({ url: z.string(), api_key: z.string() });
export type Credential = z.infer<typeof credentialSchema>;

/** What `guildhall start` leaves in its data folder for the command line of the same machine, readable by its user only. */
export const localCredentialPath = (dataDir: string): string => join(dataDir, "cli.json");

/** -> undefined without such a file. Throws `UsageError` when there is something else in it. */
export async function readStored<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new UsageError(
      `${path} is not a credential file: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** The credential that lies in a data folder; as `readStored`. */
export function readLocalCredential(dataDir: string): Promise<Credential | undefined> {
  return readStored(localCredentialPath(dataDir), credentialSchema);
}
