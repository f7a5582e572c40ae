import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type Client, createClient } from "@guildhall/sdk/client/client.ts";
import { z } from "zod";
import {
  type Credential,
  credentialSchema,
  readLocalCredential,
  readStored,
} from "./credential.ts";
import { UsageError } from "./exit.ts";

/** Options that every command takes. */
export type GlobalOptions = { json?: boolean; url?: string; apiKey?: string; profile?: string };

export type Context = { client: Client; baseUrl: string; json: boolean; print(text: string): void };

const profilesSchema = z.record(z.string(), credentialSchema);

/** The credential of the nearest installation: in this folder or a parent, as git finds its repository. */
async function findLocalCredential(dataDir: string | undefined): Promise<Credential | undefined> {
  if (dataDir !== undefined) return readLocalCredential(dataDir);
  for (let folder = resolve("."); ; folder = dirname(folder)) {
    const found = await readLocalCredential(join(folder, ".guildhall"));
    if (found || folder === dirname(folder)) return found;
  }
}

async function findProfile(name: string): Promise<Credential> {
  const path = join(homedir(), ".config", "guildhall", "profiles.json");
  const profiles = await readStored(path, profilesSchema);
  const profile = profiles?.[name];
  if (!profile) throw new UsageError(`There is no profile "${name}" in ${path}.`);
  return profile;
}

/** Flag over environment over file. Throws `UsageError` when no address or no key is known. */
export async function openContext(
  options: GlobalOptions,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Context> {
  const stored =
    options.profile === undefined
      ? await findLocalCredential(env["GUILDHALL_DATA_DIR"])
      : await findProfile(options.profile);
  const baseUrl = options.url ?? env["GUILDHALL_URL"] ?? stored?.url;
  const apiKey = options.apiKey ?? env["GUILDHALL_API_KEY"] ?? stored?.api_key;
  if (baseUrl === undefined || apiKey === undefined)
    throw new UsageError(
      "No installation found from this folder upwards. Start one with `npm start`, or set GUILDHALL_URL and GUILDHALL_API_KEY.",
    );
  if (!URL.canParse(baseUrl))
    throw new UsageError(
      `${baseUrl} is not an address. Give one such as http://127.0.0.1:4000 with --url or GUILDHALL_URL.`,
    );
  return {
    client: createClient({ baseUrl, token: apiKey }),
    baseUrl,
    json: options.json ?? false,
    print: (text) => process.stdout.write(`${text}\n`),
  };
}
