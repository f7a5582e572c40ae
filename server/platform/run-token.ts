import { newSecret } from "./ids.ts";
import { sha256Hex } from "./secret.ts";

/** What a run token speaks for: one attempt (epoch) of one run. It is valid exactly as long as that attempt's lease. */
export type RunToken = { workspaceId: string; runId: string; epoch: number; secretHash: string };

const FORM = /^ghr_(ws_[0-9a-z]+)\.(run_[0-9a-z]+)\.(\d{1,9})\.([\w-]{43})$/;

/** A fresh secret for a claim: the database gets the hash, the attempt the token made of the secret. */
export function newRunSecret(): { secret: string; hash: string } {
  const secret = newSecret();
  return { secret, hash: sha256Hex(secret) };
}

/** The token names its workspace and run, so that it is checked by primary key under the lease's row. */
export function formatRunToken(token: {
  workspaceId: string;
  runId: string;
  epoch: number;
  secret: string;
}): string {
  return `ghr_${token.workspaceId}.${token.runId}.${token.epoch}.${token.secret}`;
}

/** Undefined when the text has not the form of a run token; whether it is valid only the database knows. */
export function parseRunToken(text: string): RunToken | undefined {
  const match = FORM.exec(text);
  if (!match) return undefined;
  const [, workspaceId = "", runId = "", epoch = "", secret = ""] = match;
  return { workspaceId, runId, epoch: Number(epoch), secretHash: sha256Hex(secret) };
}
