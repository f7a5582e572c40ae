import { resolve } from "node:path";
import { readLocalCredential } from "@guildhall/cli/credential.ts";
import { seedAgents } from "./agents/agents.ts";
import { ensureLocalWorkspace } from "./identity/local-workspace.ts";
import { createSignInLink } from "./identity/sign-in-links.ts";
import { localPlan } from "./local-plan.ts";
import type { Config } from "./platform/config.ts";
import type { Db } from "./platform/db.ts";

/** The workspace of the person who runs this installation, made when it is missing. */
export function ensureWorkspace(config: Config, db: Db) {
  return ensureLocalWorkspace({
    db,
    openPlan: localPlan(config.LOCAL_BUDGET_NANO_USD),
    seedAgents: (tx, workspaceId) => seedAgents(tx, { workspaceId, model: config.DEFAULT_MODEL }),
  });
}

/** Where people reach the page: as configured, as the installation of this data folder has told, or as it would be. */
async function pageUrl(config: Config): Promise<string> {
  if (config.PUBLIC_URL !== undefined) return config.PUBLIC_URL;
  const stored = await readLocalCredential(resolve(config.GUILDHALL_DATA_DIR)).catch(
    () => undefined,
  );
  return stored?.url ?? `http://${config.HOST}:${config.PORT}`;
}

/** The line with a link that signs the local owner in once; earlier links end. */
export async function signInLine(
  db: Db,
  { userId, url }: { userId: string; url: string },
): Promise<string> {
  const { token, validForMs } = await createSignInLink(db, userId);
  return `▸ sign in    ${url}/#token=${token}  (works once, for ${validForMs / 60_000} minutes)`;
}

/** A link for the local owner of a running installation, wherever its processes are. */
export async function newSignInLine(config: Config, db: Db): Promise<string> {
  const { userId } = await ensureWorkspace(config, db);
  return signInLine(db, { userId, url: await pageUrl(config) });
}
