import type { ServerResponse } from "node:http";
import type { Health } from "../platform/health.ts";

/** What balancers in front of gateways ask at the port that they balance; `route` is method and path. */
export function isHealthRoute(route: string): boolean {
  return route === "GET /healthz" || route === "GET /readyz";
}

/** `/healthz`: this process answers. `/readyz`: it may be sent calls; else 503. Never rejects. */
export async function serveHealth(
  route: string,
  response: ServerResponse,
  health: Pick<Health, "look">,
): Promise<void> {
  const status =
    route === "GET /healthz" ? "ok" : await health.look().catch(() => "database_unavailable");
  response
    .writeHead(status === "ok" ? 200 : 503, {
      "content-type": "application/json",
      "cache-control": "no-store",
      connection: "close",
    })
    .end(JSON.stringify({ status }));
}
