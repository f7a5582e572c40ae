import type { z } from "zod";
import type { accessTokenSchema } from "@guildhall/sdk/contract/workspace.ts";
import { ConnectionError, GuildhallError, toGuildhallError } from "@guildhall/sdk/client/errors.ts";

type AccessToken = z.infer<typeof accessTokenSchema>;
type Held = { token: string; workspaceId: string; endsAtMs: number };

/** A token is renewed this long before it ends, so that no request carries one that ends on its way. */
const renewBeforeMs = 60_000;

export type Session = {
  /** Trades the secret of a one-time link for a session. Answers the workspace. */
  exchange(linkToken: string): Promise<string>;
  /** Makes sure that there is a token, for `workspaceId` when given. Answers the workspace. Throws 401 when signed out. */
  open(workspaceId?: string): Promise<string>;
  /** An access token that is good for the next request. */
  token(): Promise<string>;
  /** A new access token, because the server refused the one that there was. */
  renew(): Promise<string>;
  /** The workspace that the token speaks for; undefined before the first one. */
  workspaceId(): string | undefined;
  signOut(): Promise<void>;
};

/**
 * The page's session: the access token lives in this tab's memory only, the refresh token in a cookie that no script
 * can read. Requests that need a token at the same time share one renewal.
 */
export function createSession(deps: { fetch: typeof fetch; now: () => number }): Session {
  let held: Held | undefined;
  let renewing: Promise<Held> | undefined;

  async function post(path: string, body: unknown): Promise<Response> {
    const response = await deps
      .fetch(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      })
      .catch((cause: unknown) => {
        throw new ConnectionError("The server cannot be reached.", { cause });
      });
    if (!response.ok) throw await toGuildhallError(response);
    return response;
  }

  async function keep(response: Response): Promise<Held> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the server holds the contract
    const answer = (await response.json()) as AccessToken;
    held = {
      token: answer.access_token,
      workspaceId: answer.workspace_id,
      endsAtMs: deps.now() + answer.expires_in_ms,
    };
    return held;
  }

  function issue(workspaceId: string | undefined): Promise<Held> {
    renewing ??= post("/v1/auth/token", workspaceId ? { workspace_id: workspaceId } : {})
      .then(keep)
      .catch((error: unknown) => {
        if (error instanceof GuildhallError && error.status === 401) held = undefined;
        throw error;
      })
      .finally(() => {
        renewing = undefined;
      });
    return renewing;
  }

  async function fresh(): Promise<Held> {
    if (held && held.endsAtMs - deps.now() > renewBeforeMs) return held;
    return issue(held?.workspaceId);
  }

  return {
    exchange: async (linkToken) =>
      (await keep(await post("/v1/auth/exchange", { token: linkToken }))).workspaceId,
    async open(workspaceId) {
      if (held && (workspaceId === undefined || held.workspaceId === workspaceId)) {
        return held.workspaceId;
      }
      const opened = await issue(workspaceId);
      return opened.workspaceId;
    },
    token: async () => (await fresh()).token,
    renew: async () => (await issue(held?.workspaceId)).token,
    workspaceId: () => held?.workspaceId,
    async signOut() {
      await post("/v1/auth/logout", {});
      held = undefined;
    },
  };
}

/** True when the person has to sign in again. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof GuildhallError && error.status === 401;
}
