import { toolError } from "../errors.ts";
import type { ToolContext } from "../tools.ts";
import type { TeamPort } from "./team-port.ts";

/** Throws `team_absent` where a run has neither colleagues nor people. */
export function teamOf({ team }: ToolContext): TeamPort {
  if (team !== undefined) return team;
  throw toolError({
    code: "team_absent",
    publicMessage: "There is nobody to reach from here.",
    hint: "Go on alone.",
  });
}

/** How a colleague is named: the id, whatever its case. */
export const agentName = "Id of the agent, for example gray.";
