import type { RefusedCall } from "../../ledger/refusals.ts";
import type { Logger } from "../../platform/log.ts";
import { createRecent } from "./recent.ts";

export type RefusalLog = { note(call: RefusedCall): Promise<void> };

/** A client may ask for ever: one refusal a second of each kind shows as much as all of them. */
const NOT_AGAIN_FOR_MS = 1_000;
const MAX_KINDS = 10_000;

/** Hands refused calls on, so that it can be checked afterwards whether they had to be refused. Never throws. */
export function createRefusalLog(deps: {
  record(call: RefusedCall): Promise<void>;
  log: Logger;
}): RefusalLog {
  const recorded = createRecent<number>(MAX_KINDS);
  return {
    async note(call) {
      const { model, spender } = call.request;
      const { workspaceId } = spender;
      const { status, level, scopeId } = call.refusal;
      const kind = `${workspaceId} ${status} ${level} ${scopeId} ${model}`;
      const nowMs = performance.now();
      if (nowMs - (recorded.get(kind) ?? -Infinity) < NOT_AGAIN_FOR_MS) return;
      recorded.set(kind, nowMs);
      try {
        await deps.record(call);
      } catch (error) {
        deps.log.warn({ err: error, workspace_id: workspaceId }, "a refusal was not recorded");
      }
    },
  };
}
