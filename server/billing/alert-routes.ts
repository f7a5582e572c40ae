import { z } from "zod";
import {
  alertListSchema,
  listAlertsSchema,
  readAlertsSchema,
} from "@guildhall/sdk/contract/alert.ts";
import { principalOf } from "../identity/guard.ts";
import type { Http } from "../platform/http.ts";
import type { Alerts } from "./alerts.ts";

/** Alerts about limits. */
export function addAlertRoutes(app: Http, alerts: Alerts): void {
  app.route({
    method: "GET",
    url: "/v1/alerts",
    config: { access: "usage:read" },
    schema: {
      operationId: "listAlerts",
      tags: ["Workspace"],
      summary: "List alerts about limits, newest first",
      description:
        "An alert comes once per limit version and period when 50, 80 and 100 % of a limit are used, and when twice the limit is demanded (used, held, refused and waiting together); a few seconds after it happened. What is unread is counted per person.",
      querystring: listAlertsSchema,
      response: { 200: alertListSchema },
    },
    handler: (request) => {
      const { workspaceId, userId } = principalOf(request);
      const { before, limit, unread } = request.query;
      return alerts.list({ workspaceId, userId, before, limit, unreadOnly: unread === "true" });
    },
  });

  app.route({
    method: "POST",
    url: "/v1/alerts/read",
    config: { access: "usage:read" },
    schema: {
      operationId: "markAlertsRead",
      tags: ["Workspace"],
      summary: "Mark alerts as read up to one of them",
      body: readAlertsSchema,
      response: { 200: z.object({ unread: z.int() }) },
    },
    handler: async (request) => {
      const { workspaceId, userId } = principalOf(request);
      return {
        unread: await alerts.markRead({ workspaceId, userId, through: request.body.through }),
      };
    },
  });
}
