import type { IncomingMessage } from "node:http";
import type { Spender } from "../ledger/calls.ts";
import { parseApiKey } from "../platform/api-key-text.ts";
import { AppError } from "../platform/errors.ts";
import { parseRunToken } from "../platform/run-token.ts";
import { apiKeyRefused, databaseUnavailable, scopeMissing } from "./errors.ts";

/** Who a call says it is. The ledger checks it again with each hold, so that what was ended spends nothing more. */
export type Credential = {
  spender: Spender;
  /** The text that was sent. */
  text: string;
  /** SHA-256 of its secret: names it where it must not be known. */
  secretHash: string;
};

/** `refused`: unknown, revoked or ended. `out_of_scope`: the key is valid, but may not call models. */
export type KeyStanding = "allowed" | "refused" | "out_of_scope";

/** Whether an API key may call models now. Asked for each call: it answers from memory, as a rule. */
export type KeyCheck = (key: string) => Promise<KeyStanding>;

function credentialIn(text: string): Credential | undefined {
  const token = parseRunToken(text);
  if (token !== undefined) {
    const { workspaceId, runId, epoch, secretHash } = token;
    const spender = { kind: "run", workspaceId, runId, epoch, tokenHash: secretHash } as const;
    return { spender, text, secretHash };
  }
  const key = parseApiKey(text);
  return key && { spender: { kind: "api_key", ...key }, text, secretHash: key.secretHash };
}

/** A run token or an API key, as `x-api-key` or as a bearer token: clients differ, and some send both. */
export function credentialOf(request: IncomingMessage): Credential | undefined {
  const apiKey = request.headers["x-api-key"];
  const bearer = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
  for (const text of [Array.isArray(apiKey) ? apiKey[0] : apiKey, bearer]) {
    const credential = text === undefined ? undefined : credentialIn(text);
    if (credential !== undefined) return credential;
  }
  return undefined;
}

/** Why this credential may call no model. A run token is left to the ledger, which knows the run's lease. */
export async function refusalOfCredential(
  { spender, text }: Credential,
  checkKey: KeyCheck | undefined,
): Promise<AppError | undefined> {
  if (spender.kind === "run") return undefined;
  const standing = await (checkKey?.(text) ?? Promise.resolve("refused" as const)).catch(
    (error: unknown) =>
      error instanceof AppError
        ? error
        : databaseUnavailable("The API key could not be checked.", error),
  );
  if (standing instanceof AppError) return standing;
  if (standing === "allowed") return undefined;
  return standing === "refused" ? apiKeyRefused() : scopeMissing();
}

/** `run_…` or `key_…`: names the spender where its calls are remembered or counted. */
export function spenderId(spender: Spender): string {
  return spender.kind === "run" ? spender.runId : spender.apiKeyId;
}
