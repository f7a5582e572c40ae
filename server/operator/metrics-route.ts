import { timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import type { FastifyRequest } from "fastify";
import { AppError } from "../platform/errors.ts";
import type { Http } from "../platform/http.ts";
import { sha256Hex, type Secret } from "../platform/secret.ts";
import type { Metrics } from "./metrics.ts";

/** Who may read the metrics. */
export type MetricsAccess = {
  /** With it, whoever sends it as a bearer token; without it, programs of this machine, and only when that is certain. */
  token: Secret | undefined;
  /**
   * Whether nothing on this machine passes requests of others on: the API listens on the loopback interface, people reach
   * it there, and this is no production.
   */
  localOnly: boolean;
};

const LOOPBACK_NAMES: ReadonlySet<string> = new Set(["127.0.0.1", "::1", "[::1]", "localhost"]);
/** What intermediaries add: behind one, the peer's address says nothing about who asks. */
const FORWARDED = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/** Whether these settings mean `localOnly`. */
export function isLocalOnly(config: {
  HOST?: string;
  PUBLIC_URL?: string | undefined;
  NODE_ENV?: string;
}): boolean {
  return (
    LOOPBACK_NAMES.has(config.HOST ?? "") &&
    config.PUBLIC_URL === undefined &&
    config.NODE_ENV !== "production"
  );
}

function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/, "");
  return isIP(plain) === 4 ? plain.startsWith("127.") : plain === "::1";
}

/** True only when nobody from elsewhere can be behind this request. */
function isLocal(request: FastifyRequest, access: MetricsAccess): boolean {
  const name = (request.headers.host ?? "").replace(/:\d+$/, "");
  return (
    access.localOnly &&
    isLoopback(request.socket.remoteAddress ?? "") &&
    LOOPBACK_NAMES.has(name) &&
    FORWARDED.every((header) => request.headers[header] === undefined)
  );
}

function hasToken(request: FastifyRequest, token: Secret): boolean {
  const given = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "";
  // Hashes are of one length, and comparing them tells nothing about the texts.
  return timingSafeEqual(Buffer.from(sha256Hex(given)), Buffer.from(sha256Hex(token.reveal())));
}

function refusal(access: MetricsAccess): AppError {
  return access.token === undefined
    ? new AppError({
        code: "not_found",
        status: 404,
        publicMessage: "There is nothing here.",
      })
    : new AppError({
        code: "metrics_token_required",
        status: 401,
        publicMessage: "Send the metrics token as a bearer token.",
      });
}

/**
 * `GET /metrics`, Prometheus text. Never public: with `METRICS_TOKEN` it is a 401 without the token, and without that
 * setting it is a 404 for everything but direct requests of this machine, and for those too in production.
 */
export function addMetricsRoute(app: Http, options: { metrics: Metrics; access: MetricsAccess }) {
  const { metrics, access } = options;
  app.route({
    method: "GET",
    url: "/metrics",
    schema: { hide: true },
    async handler(request, reply) {
      const { token } = access;
      const allowed = token === undefined ? isLocal(request, access) : hasToken(request, token);
      if (!allowed) throw refusal(access);
      const text = await metrics.text();
      return reply
        .header("content-type", metrics.contentType)
        .header("cache-control", "no-store")
        .send(text);
    },
  });
}
