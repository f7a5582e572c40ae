import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import cookie from "@fastify/cookie";
import helmet from "@fastify/helmet";
import Fastify, {
  type ConnectionError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from "fastify";
import {
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import type { Config } from "./config.ts";
import { AppError } from "./errors.ts";
import {
  PROBLEM_TYPE,
  problemHeaders,
  toAppError,
  toProblem,
  validationFailed,
} from "./http-errors.ts";
import { unstorableText } from "./http-text.ts";
import { newId } from "./ids.ts";
import { speakPlainly } from "./plain-issues.ts";
import type { Logger } from "./log.ts";

/** The HTTP server of the API and the page; routes are typed by their zod schemas. */
export type Http = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  Logger,
  ZodTypeProvider
>;

const BODY_LIMIT_BYTES = 1024 * 1024;
/** Longest time a client may take to send its headers; bodies (uploads) get longer. */
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 15 * 60_000;

/**
 * Nothing inline and nothing from elsewhere. `connect-src 'self'` covers the socket of the same origin in every
 * browser of the last years; a bare `ws:` would let injected text talk to any host.
 */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", "data:", "blob:"],
    fontSrc: ["'self'"],
    connectSrc: ["'self'"],
    manifestSrc: ["'self'"],
    workerSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
};

/** Renders an error as its problem document and logs what is our fault. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, thrown: unknown): void {
  const error = toAppError(thrown);
  if (error.status >= 500) request.log.error({ err: error }, "a request failed");
  else request.log.debug({ code: error.code, status: error.status }, "a request was refused");
  void reply
    .code(error.status)
    .headers({ ...problemHeaders(error), "x-request-id": request.id })
    .serializer(JSON.stringify)
    .send(toProblem(error, request.id));
}

/** What is not even HTTP gets its answer on the bare connection. */
function refuseConnection(error: ConnectionError, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return;
  const status = error.code === "HPE_HEADER_OVERFLOW" ? 431 : 400;
  const problem = new AppError({
    code: status === 431 ? "headers_too_large" : "bad_request",
    status,
    publicMessage: "The request is not valid HTTP.",
  });
  const body = JSON.stringify(toProblem(problem, newId("req")));
  socket.end(
    `HTTP/1.1 ${status} Refused\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** Remembers which methods a path has, so that a wrong method is told apart from a wrong path. */
function rememberMethods(app: Http): (path: string) => string[] {
  const routes: { pattern: RegExp; methods: string[] }[] = [];
  app.addHook("onRoute", (route) => {
    if (route.url.includes("*")) return;
    const pattern = route.url.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/:\w+/g, "[^/]+");
    routes.push({ pattern: new RegExp(`^${pattern}$`), methods: [route.method].flat() });
  });
  return (path) => [
    ...new Set(routes.flatMap((route) => (route.pattern.test(path) ? route.methods : []))),
  ];
}

/** Answers an address that exists only in the browser with the page; false when the address is not of that kind. */
export type PageFallback = (request: FastifyRequest, reply: FastifyReply) => boolean;

/** Answers 404 and 405, and the page where it belongs. */
function notFoundHandler(methodsOf: (path: string) => string[], page: PageFallback | undefined) {
  return (request: FastifyRequest, reply: FastifyReply): void => {
    if (page?.(request, reply)) return;
    const path = request.url.split("?", 1)[0] ?? "";
    const methods = methodsOf(path);
    if (methods.length > 0) {
      void reply.header("allow", methods.join(", "));
      sendProblem(
        request,
        reply,
        new AppError({
          code: "method_not_allowed",
          status: 405,
          publicMessage: `This address does not answer ${request.method}.`,
          hint: `It answers ${methods.join(", ")}.`,
        }),
      );
      return;
    }
    sendProblem(
      request,
      reply,
      new AppError({
        code: "not_found",
        status: 404,
        publicMessage: "There is nothing at this address.",
        hint: "The routes are listed at /docs/api.",
      }),
    );
  };
}

/** An empty body with a JSON content type is no body: clients send the header with every POST. */
function parseJson(app: Http): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeContentTypeParser(["application/json", "text/plain"]);
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else void parse(request, body.toString(), done);
  });
}

function addHooks(app: Http): void {
  app.addHook("onRequest", async (request, reply) => {
    void reply.header("x-request-id", request.id);
    if (request.url.startsWith("/v1/")) void reply.header("cache-control", "no-store");
  });
  app.addHook("preValidation", async (request) => {
    const fields = [
      ...unstorableText(request.body, ""),
      ...unstorableText(request.query, ""),
      ...unstorableText(request.params, ""),
    ];
    if (fields.length > 0) throw validationFailed(fields);
  });
  app.addHook("onResponse", async (request, reply) => {
    request.log.info(
      {
        method: request.method,
        // The pattern, not the address: queries and ids of tenants do not belong into the log of every request.
        route: request.routeOptions.url ?? "unknown",
        status: reply.statusCode,
        duration_ms: Math.round(reply.elapsedTime),
      },
      "request",
    );
  });
}

/**
 * The HTTP server with what every route shares: request ids (`req_…`, header `x-request-id`), security headers,
 * cookies, problem documents for every error, strict JSON of at most 1 MB, zod validation. Routes come from `createApi`.
 */
export async function createHttp(options: {
  log: Logger;
  config: Pick<Config, "PUBLIC_URL">;
  page?: PageFallback;
}): Promise<Http> {
  speakPlainly();
  const app: Http = Fastify({
    loggerInstance: options.log,
    logController: new LogController({
      disableRequestLogging: true,
      requestIdLogLabel: "request_id",
    }),
    genReqId: () => newId("req"),
    requestIdHeader: false,
    bodyLimit: BODY_LIMIT_BYTES,
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    requestTimeout: REQUEST_TIMEOUT_MS,
    // What arrives on open connections while the server closes is still answered; readiness says no before.
    return503OnClosing: false,
    http: { headersTimeout: HEADERS_TIMEOUT_MS },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error, request, reply) => sendProblem(request, reply, error),
  }).withTypeProvider<ZodTypeProvider>();
  const methodsOf = rememberMethods(app);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, error));
  app.setNotFoundHandler(notFoundHandler(methodsOf, options.page));
  parseJson(app);
  addHooks(app);
  // Awaited: hooks of a plugin count for the routes that come after it.
  await app.register(helmet, {
    contentSecurityPolicy,
    // Only a server that is reached by https may demand it.
    strictTransportSecurity: options.config.PUBLIC_URL?.startsWith("https://") ?? false,
    referrerPolicy: { policy: "no-referrer" },
  });
  await app.register(cookie);
  return app;
}
