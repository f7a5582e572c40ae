import { addMetricsRoute, isLocalOnly } from "./operator/metrics-route.ts";
import type { Metrics } from "./operator/metrics.ts";
import { addHealthRoutes } from "./platform/health.ts";
import { createHttp } from "./platform/http.ts";
import { orPortBusy, type RoleParts } from "./role-parts.ts";

/** `/healthz`, `/readyz` and `/metrics` of a process without the role api, at `PORT`. -> its address */
export async function startStatus(
  { config, log, health }: RoleParts,
  metrics: Metrics,
): Promise<{ url: string; close(): Promise<void> }> {
  const app = await createHttp({ log, config });
  addHealthRoutes(app, health);
  addMetricsRoute(app, {
    metrics,
    access: { token: config.METRICS_TOKEN, localOnly: isLocalOnly(config) },
  });
  const listening = await orPortBusy({ port: config.PORT, variable: "PORT" }, () =>
    app.listen({ port: config.PORT, host: config.HOST }),
  );
  return { url: new URL(listening).origin, close: async () => app.close() };
}
