import { writeFile } from "node:fs/promises";
import { localCredentialPath, readLocalCredential } from "@guildhall/cli/credential.ts";
import { scopes } from "@guildhall/sdk/contract/workspace.ts";
import type { Identity } from "./identity/identity.ts";
import type { Installation } from "./installation.ts";
import { AppError } from "./platform/errors.ts";
import { signInLine } from "./sign-in.ts";

async function storedKey(dataDir: string, identity: Identity): Promise<string | undefined> {
  // Whatever else lies there is written over.
  const stored = await readLocalCredential(dataDir).catch(() => undefined);
  if (stored === undefined) return undefined;
  try {
    await identity.authenticate(stored.api_key);
    return stored.api_key;
  } catch (error) {
    // Revoked, or of a database that is gone: a new one is made.
    if (error instanceof AppError && error.status === 401) return undefined;
    throw error;
  }
}

/**
 * Leaves address and API key for the command line of this machine in `cli.json` of the data folder, readable by its
 * user only, so that `guildhall task run` works without an account form. The key is made once and kept.
 */
async function writeLocalCredential(options: {
  dataDir: string;
  url: string;
  identity: Identity;
  workspaceId: string;
  userId: string;
}): Promise<void> {
  const path = localCredentialPath(options.dataDir);
  const existing = await storedKey(options.dataDir, options.identity);
  const apiKey =
    existing ??
    (
      await options.identity.apiKeys.create({
        workspaceId: options.workspaceId,
        createdBy: options.userId,
        actor: `user:${options.userId}`,
        origin: "local",
        name: "Command line of this machine",
        scopes: [...scopes],
      })
    ).key;
  await writeFile(path, `${JSON.stringify({ url: options.url, api_key: apiKey }, null, 2)}\n`, {
    mode: 0o600,
  });
}

/** Tells this machine where its installation is. -> the line with a link to sign in with */
export async function welcomeOwner(options: {
  installation: Installation;
  identity: Identity;
  url: string;
  owner: { workspaceId: string; userId: string };
}): Promise<string> {
  const { installation, identity, url, owner } = options;
  await installation.setAddress(url);
  await writeLocalCredential({ dataDir: installation.dataDir, url, identity, ...owner });
  return signInLine(installation.db, { userId: owner.userId, url });
}
