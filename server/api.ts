import { addAlertRoutes } from "./billing/alert-routes.ts";
import { createAlerts } from "./billing/alerts.ts";
import { createApiRequestCounter } from "./api-request-counter.ts";
import { addAccountRoutes } from "./identity/account-routes.ts";
import { addAuthRoutes } from "./identity/auth-routes.ts";
import { countRequests, guardRoutes } from "./identity/guard.ts";
import type { Identity } from "./identity/identity.ts";
import { limitAddresses, limitPrincipals } from "./identity/rate-limits.ts";
import type { RequestLeases } from "./ledger/request-leases.ts";
import { addOpenApi } from "./openapi.ts";
import type { Metrics } from "./operator/metrics.ts";
import { addMetricsRoute, isLocalOnly } from "./operator/metrics-route.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config } from "./platform/config.ts";
import type { Db } from "./platform/db.ts";
import type { FileStore } from "./platform/file-store/file-store.ts";
import { addHealthRoutes, createHealth, type Health } from "./platform/health.ts";
import { createHttp, type Http } from "./platform/http.ts";
import type { Logger } from "./platform/log.ts";
import type { RequestLimits } from "./platform/request-limits.ts";
import { addReferencePages } from "./reference-page.ts";
import { createArtifacts } from "./tasks/files/artifacts.ts";
import type { EventBell } from "./tasks/event-bell.ts";
import { createLimits } from "./tasks/limits.ts";
import { createQuestions } from "./tasks/questions.ts";
import { addFileRoutes } from "./tasks/routes-files.ts";
import { addLimitRoutes } from "./tasks/routes-limits.ts";
import { addTaskRoutes } from "./tasks/routes.ts";
import { addWorkspaceRoutes } from "./tasks/routes-workspace.ts";
import { createTasks, type TaskBell } from "./tasks/tasks.ts";
import { createUploads } from "./tasks/files/uploads.ts";
import { VERSION } from "./version.ts";
import { addWebFiles, openPage } from "./web-files.ts";

export type ApiOptions = {
  db: Db;
  config: Pick<Config, "PUBLIC_URL" | "MAX_UPLOAD_BYTES" | "MAX_UPLOAD_FILES"> &
    Partial<Pick<Config, "HOST" | "METRICS_TOKEN" | "NODE_ENV">>;
  log: Logger;
  clock: Clock;
  files: FileStore;
  identity: Identity;
  /** How many requests addresses, users and endpoints may make. */
  requestLimits: RequestLimits;
  /** Counts requests by API key against their workspaces' limits. */
  requestLeases: RequestLeases;
  /** Rung after commit when a run may be claimable or a task ended from outside. */
  bell: TaskBell;
  /** Rung by whoever writes events of a task in this process; the long poll listens. */
  eventBell: EventBell;
  /** Who answers model calls, as `GET /v1/me` and `GET /v1/usage` tell it. */
  model: { simulated: boolean; baseUrl: string };
  /** Where programs reach the gateway, as `GET /v1/me` tells it. */
  gateway: { baseUrl: string };
  /** The built page; without it the server is the API alone. */
  web?: { folder: string };
  /** What `GET /metrics` answers; without it there is no such route. */
  metrics?: Metrics;
  /** Whether this process should be sent requests; without it, whether it reaches its database. */
  health?: Health;
};

/** The HTTP server of the API and the page, ready to listen. Close it before the database. */
export async function createApi(options: ApiOptions): Promise<Http> {
  const { db, config, files, identity, bell, model, gateway, web } = options;
  const app = await createHttp({ ...options, ...(web ? { page: openPage } : {}) });
  limitAddresses(app, options.requestLimits);
  guardRoutes(app, identity);
  limitPrincipals(app, options.requestLimits);
  countRequests(app, createApiRequestCounter(options.requestLeases));
  await addOpenApi(app, VERSION);
  addHealthRoutes(app, options.health ?? createHealth(db));
  if (options.metrics !== undefined)
    addMetricsRoute(app, {
      metrics: options.metrics,
      access: {
        token: config.METRICS_TOKEN,
        localOnly: isLocalOnly(config),
      },
    });
  addAuthRoutes(app, { identity, config });
  addAccountRoutes(app, {
    identity,
    model: { simulated: model.simulated, base_url: model.baseUrl },
    gateway: { base_url: gateway.baseUrl },
  });
  addTaskRoutes(app, { tasks: createTasks(options), questions: createQuestions(options) });
  const limits = { maxBytes: config.MAX_UPLOAD_BYTES, maxFiles: config.MAX_UPLOAD_FILES };
  await addFileRoutes(app, {
    uploads: createUploads({ db, files, limits }),
    artifacts: createArtifacts({ db, files }),
    maxBytes: limits.maxBytes,
  });
  const { simulated } = model;
  addWorkspaceRoutes(app, { db, simulated });
  addLimitRoutes(app, {
    db,
    limits: createLimits({ db, bell, clock: options.clock }),
    files,
    simulated,
  });
  addAlertRoutes(app, createAlerts({ db }));
  await addReferencePages(app);
  if (web) await addWebFiles(app, web.folder);
  return app;
}
