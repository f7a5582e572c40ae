import type { Db } from "./db.ts";
import type { Http } from "./http.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Balancers ask it about this process, so nobody's requests may make it refuse. */
    unlimited?: true;
  }
}

/** Whether this process should be given work. */
export type Health = {
  /** From here on it is not ready; what is open may still end. */
  beginDrain(): void;
  isDraining(): boolean;
  /** Throws `database_unavailable` (503) when it could not serve. */
  look(): Promise<"ok" | "draining">;
};

export function createHealth(db: Pick<Db, "ledger">): Health {
  let draining = false;
  return {
    beginDrain() {
      draining = true;
    },
    isDraining: () => draining,
    async look() {
      if (draining) return "draining";
      await db.ledger({ text: "SELECT 1 AS one", values: [] });
      return "ok";
    },
  };
}

/**
 * `/healthz`: this process answers. `/readyz`: it may be sent work, that is, it reaches its database and is not about to
 * end; else 503. Everything that `look` tells but `ok` is no.
 */
export function addHealthRoutes(
  app: Http,
  health: { isDraining(): boolean; look(): Promise<string> },
): void {
  app.route({
    method: "GET",
    url: "/healthz",
    config: { unlimited: true },
    schema: { hide: true },
    handler: () => Promise.resolve({ status: "ok" }),
  });
  app.route({
    method: "GET",
    url: "/readyz",
    config: { unlimited: true },
    schema: { hide: true },
    handler: async (_request, reply) => {
      const status = await health.look();
      return reply.code(status === "ok" ? 200 : 503).send({ status });
    },
  });
  app.addHook("onSend", async (_request, reply) => {
    // Whoever keeps the connection would bring the next request here, too.
    if (health.isDraining()) void reply.header("connection", "close");
  });
}
