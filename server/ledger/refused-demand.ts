import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";
import type { Refusal } from "./kernel-state.ts";
import type { Ledger } from "./ledger.ts";

type Refused = Omit<Refusal, "status"> & { status: string };

/**
 * The same ledger, which also notes what limits refuse: the demand that alerts and the operator look at. Only a refusal
 * pays for it; what is granted takes not one statement more. A note that fails is logged and changes no answer.
 */
export function withRefusedDemand(ledger: Ledger, deps: { db: Db; log: Logger }): Ledger {
  async function note(
    spender: { workspaceId: string; id: string },
    meter: string,
    refused: Refused,
  ): Promise<void> {
    // `reserved` is no demand beyond the limit yet: it fits once open holds return.
    if (refused.status !== "exhausted") return;
    try {
      await deps.db.ledger({
        name: "note_refused_demand",
        text: "SELECT note_refused_demand($1, $2, $3, $4, $5, $6, $7)",
        values: [
          spender.workspaceId,
          meter,
          refused.level,
          refused.scopeId,
          refused.period,
          spender.id,
          refused.needed,
        ],
      });
    } catch (error) {
      deps.log.warn({ err: error, spender_id: spender.id }, "a refusal was not noted");
    }
  }

  return {
    ...ledger,
    async reserve(request) {
      const outcome = await ledger.reserve(request);
      if (outcome.status === "exhausted") {
        const { spender } = request;
        const id = spender.kind === "run" ? spender.runId : spender.apiKeyId;
        await note({ workspaceId: spender.workspaceId, id }, "model_cost", outcome);
      }
      return outcome;
    },
    async leaseAgentTime(request) {
      const outcome = await ledger.leaseAgentTime(request);
      if (outcome.status === "exhausted")
        await note({ workspaceId: request.workspaceId, id: request.runId }, "agent_time", outcome);
      return outcome;
    },
    noteRefusedTime: ({ workspaceId, runId, refusal }) =>
      note({ workspaceId, id: runId }, "agent_time", refusal),
  };
}
