import {
  type ClientRequest,
  type IncomingMessage,
  request as send,
  type ServerResponse,
} from "node:http";
import { connect, type Socket } from "node:net";
import { pipeline } from "node:stream";
import type { Duplex } from "node:stream";
import type { Backend } from "./backends.ts";
import { isRepeatable, passedOn, requestHead } from "./head.ts";

/** How an attempt to pass something on ended. */
export type Passed =
  /** It was answered, or its client has gone. */
  | "done"
  /** Nothing of it arrived there: another server may have it. */
  | "not_sent"
  /** It may have been worked on, and there is no answer. */
  | "lost";

function answer(response: ServerResponse, from: IncomingMessage): Promise<void> {
  response.writeHead(from.statusCode ?? 502, from.statusMessage, passedOn(from.rawHeaders));
  // Streams of events are read as they come.
  response.flushHeaders();
  return new Promise((ended) => {
    // One side that breaks ends the other: a half answer must not look whole.
    pipeline(from, response, () => ended());
  });
}

/** Sends the request on a connection of its own, so that none is used just when the other side closes it. */
function open(request: IncomingMessage, { origin }: Backend): ClientRequest {
  const { hostname, port } = new URL(origin);
  return send({
    hostname,
    port,
    method: request.method,
    path: request.url,
    headers: requestHead(request),
    agent: false,
  });
}

/** Passes a request on, and its answer back. Never rejects. */
export function forward(
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  backend: Backend,
): Promise<Passed> {
  return new Promise((passed) => {
    let connected = false;
    const upstream = open(request, backend);
    const clientGone = (): void => {
      if (response.writableFinished) return;
      upstream.destroy();
      passed("done");
    };
    response.once("close", clientGone);
    upstream.once("socket", (socket) =>
      socket.once("connect", () => {
        connected = true;
        // Not earlier: what was read of it could not be sent to another server.
        if (isRepeatable(request)) upstream.end();
        else request.pipe(upstream);
      }),
    );
    upstream.once("response", (from) => {
      void answer(response, from).then(() => passed("done"));
    });
    upstream.once("error", () => {
      response.off("close", clientGone);
      if (!connected) passed("not_sent");
      else if (response.headersSent || response.destroyed) passed("done");
      else passed(isRepeatable(request) ? "not_sent" : "lost");
    });
  });
}

/** Passes a connection on that becomes a socket: both directions, until either side ends. Never rejects. */
export function forwardUpgrade(
  { request, socket, head }: { request: IncomingMessage; socket: Duplex; head: Buffer },
  { origin }: Backend,
): Promise<Passed> {
  return new Promise((passed) => {
    const { hostname, port } = new URL(origin);
    const upstream: Socket = connect({ host: hostname, port: Number(port), noDelay: true });
    upstream.once("error", () => passed("not_sent"));
    upstream.once("connect", () => {
      const fields = [...requestHead(request), "Connection", "Upgrade"];
      const lines = fields.flatMap((name, n) => (n % 2 === 0 ? [`${name}: ${fields[n + 1]}`] : []));
      upstream.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      upstream.write(head);
      pipeline(upstream, socket, () => socket.destroy());
      pipeline(socket, upstream, () => upstream.destroy());
      passed("done");
    });
  });
}
