import { addMetricsRoute, isLocalOnly } from "./operator/metrics-route.ts";
import type { Metrics } from "./operator/metrics.ts";
import { addHealthRoutes } from "./platform/health.ts";
import { createHttp } from "./platform/http.ts";
import { orPortBusy, type RoleParts } from "./role-parts.ts";
import type { WorkerFailures } from "./tasks/execution/worker-failures.ts";

/**
 * `/healthz`, `/readyz` and `/metrics` of a process without the role api, at `PORT`. A worker that cannot claim is not
 * ready: no balancer sends it anything, but whoever rolls a release out goes no further. -> its address
 */
export async function startStatus(
  { config, log, health }: RoleParts,
  { metrics, worker }: { metrics: Metrics; worker: { failures: WorkerFailures } | undefined },
): Promise<{ url: string; close(): Promise<void> }> {
  const app = await createHttp({ log, config });
  addHealthRoutes(app, {
    ...health,
    async look() {
      const status = await health.look();
      return status === "ok" && worker?.failures.claim.lasting ? "cannot_claim" : status;
    },
  });
  addMetricsRoute(app, {
    metrics,
    access: { token: config.METRICS_TOKEN, localOnly: isLocalOnly(config) },
  });
  const listening = await orPortBusy({ port: config.PORT, variable: "PORT" }, () =>
    app.listen({ port: config.PORT, host: config.HOST }),
  );
  return { url: new URL(listening).origin, close: async () => app.close() };
}
