import type { KeyCheck } from "./spender.ts";
import type { ApiKeys } from "../identity/api-keys.ts";

/** Lets those keys call models at the gateway that have the scope for it, and whose makers may still do so. */
export function keyCheckOf(apiKeys: Pick<ApiKeys, "verify">): KeyCheck {
  return async (key) => {
    const principal = await apiKeys.verify(key);
    if (principal === undefined) return "refused";
    return principal.scopes.includes("models:invoke") ? "allowed" : "out_of_scope";
  };
}
