import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type Backend, type Backends, createBackends } from "./backends.ts";
import { forward, forwardUpgrade, type Passed } from "./forward.ts";

export type Balancer = Pick<Backends, "add" | "remove"> & {
  /** Port 0 takes a free one. -> the port */
  listen(address: { port: number; host: string }): Promise<{ port: number }>;
  /** Ends every connection. */
  close(): Promise<void>;
};

/** What is said when no server could answer: `503` nothing was done, `502` it is not known what was. */
export type RenderFailure = (status: 502 | 503) => { contentType: string; body: string };

const PROBE_EVERY_MS = 500;
const WAIT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 15 * 60_000;

/** Tries one ready server after the other until one takes it. */
async function passOn(
  { backends, waitMs }: { backends: Backends; waitMs: number },
  attempt: (backend: Backend) => Promise<Passed>,
): Promise<Exclude<Passed, "not_sent"> | "none"> {
  const tried = new Set<Backend>();
  for (;;) {
    const backend = await backends.pick({ waitMs, tried });
    if (backend === undefined) return "none";
    const passed = await attempt(backend);
    if (passed !== "not_sent") return passed;
    tried.add(backend);
    backends.failed(backend);
  }
}

function listening(server: Server, address: { port: number; host: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.host, () => {
      server.off("error", reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/**
 * One address for several servers of this machine: requests go in turn to those that are ready (`/readyz`), and to
 * another one when one cannot be reached or ends before it has answered what may be asked twice. It adds the client to
 * `X-Forwarded-For`; the servers name it in `TRUSTED_PROXIES`.
 */
export function createBalancer(options: {
  renderFailure: RenderFailure;
  probeEveryMs?: number;
  /** So long a request waits for a server that is just starting; default 10 s. */
  waitMs?: number;
}): Balancer {
  const { renderFailure, probeEveryMs = PROBE_EVERY_MS, waitMs = WAIT_MS } = options;
  const backends = createBackends({ probeEveryMs });
  const way = { backends, waitMs };
  const upgraded = new Set<Duplex>();

  async function onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const passed = await passOn(way, (backend) => forward({ request, response }, backend));
    if (passed === "done" || response.headersSent || response.destroyed) return;
    const status = passed === "none" ? 503 : 502;
    const { contentType, body } = renderFailure(status);
    response
      .writeHead(status, { "content-type": contentType, "retry-after": "1", connection: "close" })
      .end(body);
  }

  async function onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    upgraded.add(socket);
    socket.once("close", () => upgraded.delete(socket));
    // A client that vanishes is no failure of ours.
    socket.on("error", () => socket.destroy());
    const passed = await passOn(way, (backend) =>
      forwardUpgrade({ request, socket, head }, backend),
    );
    if (passed !== "done") socket.destroy();
  }

  const server = createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS },
    (request, response) => void onRequest(request, response),
  );
  server.on("upgrade", (request, socket, head) => void onUpgrade(request, socket, head));

  return {
    add: backends.add,
    remove: backends.remove,
    listen: async (address) => ({ port: await listening(server, address) }),
    async close() {
      await backends.close();
      const closed = new Promise<void>((resolve) => {
        if (server.listening) server.close(() => resolve());
        else resolve();
      });
      for (const socket of upgraded) socket.destroy();
      server.closeAllConnections();
      await closed;
    },
  };
}
