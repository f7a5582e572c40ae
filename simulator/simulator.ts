import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { parseJson, readBody } from "./body.ts";
import type { Latency } from "./delivery/delivery.ts";
import type { FaultPlan } from "./delivery/faults.ts";
import { createFaultInjector, parseFaultPlan } from "./delivery/faults.ts";
import { hashOf } from "./hash.ts";
import type { Call, RouteDeps } from "./messages-route.ts";
import { handleCountTokens, handleMessages } from "./messages-route.ts";
import type { Meter } from "./metering/meter.ts";
import { createMeter } from "./metering/meter.ts";
import { priceListJson } from "./metering/prices.ts";
import { problem, problemJson } from "./protocol/problem.ts";
import { createPromptCache } from "./metering/prompt-cache.ts";

export type SimulatorOptions = {
  /** Servers with the same seed and history answer equally, byte for byte. Default `1`. */
  seed?: string;
  /** Default 120 ms to the first byte and 15 ms per event: pleasant to watch. Tests set 0. */
  latency?: Latency;
  faults?: FaultPlan;
  /** The only key that is let in; without it, any non-empty key is. */
  apiKey?: string;
  /** Milliseconds; decides when cache entries expire and stamps the meter's rows. */
  clock?: () => number;
};

export type Simulator = {
  /** Starts listening; port 0 (the default) takes a free one, the default host is 127.0.0.1. */
  listen(port?: number, host?: string): Promise<{ url: string; port: number }>;
  /** Stops, and breaks off the answers that are still under way. */
  close(): Promise<void>;
  meter: Meter;
};

const DEFAULT_LATENCY: Latency = { firstByteMs: 120, perEventMs: 15 };
const MAX_REMEMBERED_BODIES = 100_000;

function sendJson(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { "content-type": "application/json" });
  res.end(JSON.stringify(body));
}

/** Numbers calls: the id is the same on every server with this seed, and another when a body comes again. */
function createRequestIds(seed: string): { next(body: string): string; clear(): void } {
  const uses = new Map<string, number>();
  return {
    next(body) {
      const hash = hashOf([seed, body]);
      if (uses.size > MAX_REMEMBERED_BODIES) uses.clear();
      const use = (uses.get(hash) ?? 0) + 1;
      uses.set(hash, use);
      return `req_sim_${hashOf([hash, String(use)])}`;
    },
    clear: () => uses.clear(),
  };
}

function addressOf(server: Server, host: string): { url: string; port: number } {
  const address = server.address();
  const port = address === null || typeof address === "string" ? 0 : address.port;
  return { url: `http://${host.includes(":") ? `[${host}]` : host}:${port}`, port };
}

function startListening(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

type SimRoute = (call: Call, url: URL) => void;

function controlRoutes(input: { deps: RouteDeps; reset: () => void }): Record<string, SimRoute> {
  const { deps } = input;
  return {
    "GET /healthz": ({ res }) => sendJson(res, 200, { status: "ok", simulated: true }),
    "GET /sim/prices": ({ res }) => sendJson(res, 200, priceListJson()),
    "GET /sim/usage": ({ res }, url) =>
      sendJson(
        res,
        200,
        deps.meter.report({
          tag: url.searchParams.get("tag") ?? undefined,
          model: url.searchParams.get("model") ?? undefined,
          clientRequestIds: url.searchParams.get("client_request_ids")?.split(","),
        }),
      ),
    "POST /sim/faults": ({ res, text, requestId }) => {
      const json = parseJson(text);
      const parsed =
        json === undefined
          ? { ok: false as const, message: "fault plan: not JSON" }
          : parseFaultPlan(json.value);
      if (!parsed.ok)
        return sendJson(res, 400, problemJson(problem(400, parsed.message), requestId));
      deps.faults.set(parsed.plan);
      sendJson(res, 200, { simulated: true, faults: parsed.plan });
    },
    "POST /sim/reset": ({ res }) => {
      input.reset();
      sendJson(res, 200, { simulated: true, status: "reset" });
    },
  };
}

/**
 * Builds the simulated model provider: an HTTP server of the Messages protocol with scripted answers, its
 * own meter and price list, and fault injection. Throws a TypeError when `faults` is no valid plan.
 */
export function createSimulator(options: SimulatorOptions = {}): Simulator {
  const seed = options.seed ?? "1";
  const clock = options.clock ?? Date.now;
  const plan = parseFaultPlan(options.faults ?? []);
  if (!plan.ok) throw new TypeError(plan.message);
  const meter = createMeter({ clock });
  const cache = createPromptCache({ clock });
  const faults = createFaultInjector(plan.plan);
  const ids = createRequestIds(seed);
  const deps: RouteDeps = {
    seed,
    apiKey: options.apiKey,
    latency: options.latency ?? DEFAULT_LATENCY,
    meter,
    cache,
    faults,
  };
  const control = controlRoutes({
    deps,
    reset() {
      meter.reset();
      cache.clear();
      faults.set([]);
      ids.clear();
    },
  });

  async function route(req: IncomingMessage, res: ServerResponse): Promise<void> {
    res.setHeader("x-guildhall-simulated", "true");
    const body = await readBody(req);
    if (body.state === "aborted") return;
    const text = body.state === "complete" ? body.text : "";
    const url = new URL(req.url ?? "/", "http://simulator.invalid");
    const key = `${req.method} ${url.pathname}`;
    const call: Call = { req, res, text, requestId: ids.next(`${key}\n${text}`) };
    res.setHeader("request-id", call.requestId);
    if (body.state === "too_large")
      return sendJson(
        res,
        413,
        problemJson(problem(413, "Request exceeds the maximum size of 32 MB"), call.requestId),
      );
    if (key === "POST /v1/messages") return handleMessages(deps, call);
    if (key === "POST /v1/messages/count_tokens") return handleCountTokens(deps, call);
    const simRoute = control[key];
    if (simRoute !== undefined) return simRoute(call, url);
    sendJson(res, 404, problemJson(problem(404, `Not found: ${key}`), call.requestId));
  }

  const server = createServer((req, res) => {
    route(req, res).catch((error: unknown) => {
      // A defect of the simulator must be seen, yet must not take the other calls down.
      process.stderr.write(
        `simulator: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      );
      if (!res.headersSent)
        sendJson(res, 500, problemJson(problem(500, "Internal server error"), ""));
      else res.destroy();
    });
  });

  // Longer than the idle time of common clients' pools: else a reused connection may close under a request.
  server.keepAliveTimeout = 75_000;

  return {
    async listen(port = 0, host = "127.0.0.1") {
      await startListening(server, port, host);
      return addressOf(server, host);
    },
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
    meter,
  };
}
