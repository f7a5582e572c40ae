import {
  limitListSchema,
  simulateCallSchema,
  simulatedCallSchema,
} from "@guildhall/sdk/contract/limit.ts";
import {
  limitSchema,
  overageSchema,
  setLimitSchema,
  setOverageSchema,
} from "@guildhall/sdk/contract/workspace.ts";
import { planSchema } from "@guildhall/sdk/contract/plan.ts";
import { principalOf } from "../identity/guard.ts";
import { readPlan } from "../ledger/plan-reading.ts";
import type { Db } from "../platform/db.ts";
import type { FileStore } from "../platform/file-store/file-store.ts";
import type { Http } from "../platform/http.ts";
import { readLimits } from "./limit-view/limit-view.ts";
import { simulateCall } from "./limit-view/simulate-call.ts";
import type { Limits } from "./limits.ts";
import { callerOf } from "./routes.ts";

function addPlanRoutes(app: Http, { db, limits }: { db: Db; limits: Limits }): void {
  app.route({
    method: "GET",
    url: "/v1/plan",
    config: { access: "usage:read" },
    schema: {
      operationId: "getPlan",
      tags: ["Limits"],
      summary: "The workspace's plan, and what its limits follow from",
      description:
        "What the plan includes, what was agreed with the operator instead, the overage that was opted in to, and what the workspace allows itself.",
      response: { 200: planSchema },
    },
    handler: (request) => db.withWorkspace(principalOf(request).workspaceId, readPlan),
  });

  app.route({
    method: "PUT",
    url: "/v1/limits/overage",
    config: { access: "limits:write" },
    schema: {
      operationId: "setOverage",
      tags: ["Limits"],
      summary: "Opt in to use beyond what the plan includes",
      description:
        "The limit in force is what the plan includes plus this much a month. At first it is 0: what is included pauses when it is used up.",
      body: setOverageSchema,
      response: { 200: overageSchema },
    },
    handler: (request) => limits.setOverage({ caller: callerOf(request), body: request.body }),
  });
}

/** Limits of the workspace and its plan: how they stand, what they would say, and changing them. */
export function addLimitRoutes(
  app: Http,
  options: { db: Db; limits: Limits; files: Pick<FileStore, "use">; simulated: boolean },
): void {
  const { db, limits, files, simulated } = options;

  app.route({
    method: "GET",
    url: "/v1/limits",
    config: { access: "usage:read" },
    schema: {
      operationId: "listLimits",
      tags: ["Limits"],
      summary: "Every limit that can stop work, its use, what waits for it, and who changed it",
      description:
        "Amounts are in units of the meter: nano-USD, milliseconds, bytes or a count. Of levels above the workspace only its own use is told. Tasks that began are listed where they have used four fifths of a cap, or are paused at it.",
      response: { 200: limitListSchema },
    },
    handler: async (request) => {
      const { workspaceId, scopes } = principalOf(request);
      const mayChange = scopes.includes("limits:write");
      const list = await db.withWorkspace(workspaceId, async (tx) =>
        readLimits(tx, { mayChange, storage: await files.use(tx) }),
      );
      return { ...list, simulated };
    },
  });

  app.route({
    method: "PUT",
    url: "/v1/limits",
    config: { access: "limits:write" },
    schema: {
      operationId: "setLimit",
      tags: ["Limits"],
      summary: "Set a limit of the workspace, an agent, a task or an API key",
      description:
        "Counts from the next model call on. Raising a limit lets the tasks go on that it paused. `null` removes the limit; what the workspace's plan allows is never exceeded.",
      body: setLimitSchema,
      response: { 200: limitSchema },
    },
    handler: (request) => limits.set({ caller: callerOf(request), body: request.body }),
  });

  app.route({
    method: "POST",
    url: "/v1/limits/simulate",
    config: { access: "usage:read" },
    schema: {
      operationId: "simulateCall",
      tags: ["Limits"],
      summary: "Ask every limit what it would say to a model call, without making it",
      description:
        "Asks the function of the database that also decides when paused tasks go on. Nothing is held, so a call that fits now may not fit later.",
      body: simulateCallSchema,
      response: { 200: simulatedCallSchema },
    },
    handler: (request) =>
      db.withWorkspace(principalOf(request).workspaceId, (tx) => simulateCall(tx, request.body)),
  });

  addPlanRoutes(app, options);
}
