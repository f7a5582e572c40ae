import { createClient, type Client } from "@guildhall/sdk/client/client.ts";
import { createSession, isSignedOut } from "./session.ts";

export const session = createSession({ fetch: (...args) => fetch(...args), now: Date.now });

const client = createClient({ baseUrl: location.origin, token: () => session.token() });

/**
 * Sends a request in the page's session. A token that the server no longer takes is renewed once; a 401 after that
 * means that the person has to sign in again.
 */
export async function call<T>(send: (client: Client) => Promise<T>): Promise<T> {
  try {
    return await send(client);
  } catch (error) {
    if (!isSignedOut(error)) throw error;
    await session.renew();
    return send(client);
  }
}
