import { sha256Hex } from "./secret.ts";

/** What the text of an API key says of itself; whether it is valid only the database knows. */
export type ApiKeyText = { workspaceId: string; apiKeyId: string; secretHash: string };

const FORM = /^ghk_(ws_[0-9a-z]{1,40})\.(key_[0-9a-z]{1,40})\.([\w-]{43})$/;

/** The key names its workspace, so that it is looked up under that workspace's row-level security. */
export function formatApiKey(key: {
  workspaceId: string;
  apiKeyId: string;
  secret: string;
}): string {
  return `ghk_${key.workspaceId}.${key.apiKeyId}.${key.secret}`;
}

/** Undefined when the text has not the form of an API key. */
export function parseApiKey(text: string): ApiKeyText | undefined {
  const [, workspaceId, apiKeyId, secret] = FORM.exec(text) ?? [];
  if (workspaceId === undefined || apiKeyId === undefined || secret === undefined) return undefined;
  return { workspaceId, apiKeyId, secretHash: sha256Hex(secret) };
}
