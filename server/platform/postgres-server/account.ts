import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { promisify } from "node:util";
import { AppError } from "../errors.ts";

const run = promisify(execFile);

/** The system user that the database server runs as, when that is not the user of this process. */
export type PostgresAccount = { name: string; uid: number; gid: number };

// Own user first, then the one that Debian's Postgres packages make, then the one that every system has.
const preferredNames = ["guildhall", "postgres", "nobody"];

/**
 * The account to drop to, or undefined when this process is not root and everything runs as its own user.
 * Postgres refuses to run as root. An existing cluster keeps its owner, whatever users appear later,
 * because Postgres also refuses a data folder that another user owns.
 */
export async function choosePostgresAccount(
  clusterDir: string,
): Promise<PostgresAccount | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(clusterDir).catch(() => undefined);
  if (owner && owner.uid !== 0)
    return { name: `user ${owner.uid}`, uid: owner.uid, gid: owner.gid };
  for (const name of preferredNames) {
    const uid = await findId("-u", name);
    const gid = await findId("-g", name);
    if (uid && gid !== undefined) return { name, uid, gid };
  }
  throw new AppError({
    code: "postgres_account_missing",
    status: 500,
    publicMessage:
      "Postgres does not run as root, and none of the users guildhall, postgres and nobody exists.",
    hint: 'Add one with "useradd --system guildhall", or start Guildhall as an ordinary user.',
  });
}

async function findId(flag: "-u" | "-g", name: string): Promise<number | undefined> {
  // `id` instead of /etc/passwd, so that users from LDAP and macOS directory services count too.
  const result = await run("id", [flag, name]).catch(() => undefined);
  return result ? Number(result.stdout.trim()) : undefined;
}

/** Options of child_process calls that make the child run as `account`; empty when there is nothing to drop. */
export function asAccount(account: PostgresAccount | undefined): { uid?: number; gid?: number } {
  // macOS writes the id of nobody as 4294967294 where child_process takes the signed -2.
  return account ? { uid: account.uid | 0, gid: account.gid | 0 } : {};
}

/** Whether `account` can enter `dir`: asked of the system itself, since mode bits do not tell about ACLs. */
export async function canEnter(
  account: PostgresAccount | undefined,
  dir: string,
): Promise<boolean> {
  if (!account) return true;
  const probe = run("/bin/sh", ["-c", 'cd "$1"', "sh", dir], { cwd: "/", ...asAccount(account) });
  return probe.then(
    () => true,
    () => false,
  );
}
