import type { LimitLevel, Raiser } from "@guildhall/sdk/contract/limit.ts";
import { roles } from "@guildhall/sdk/contract/workspace.ts";
import { scopesOf } from "../identity/principal.ts";

/** Who may raise a limit of a level. A run has no limit of its own: what stops it is its task's. */
export function raisersOf(level: LimitLevel): Raiser[] {
  switch (level) {
    case "owner":
      return ["payer"];
    case "platform":
      return ["operator"];
    case "run":
    case "task":
    case "agent":
    case "key":
    case "workspace":
      return roles.filter((role) => scopesOf(role).includes("limits:write"));
  }
}

/** Prices and suspensions are the installation's. */
export const operatorOnly: readonly Raiser[] = ["operator"];
