import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Spender } from "../ledger/calls.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { RefusedCall } from "../ledger/refusals.ts";
import type { AppError } from "../platform/errors.ts";
import type { Health } from "../platform/health.ts";
import { newId } from "../platform/ids.ts";
import { createRequestLimits, type RequestLimits } from "../platform/request-limits.ts";
import type { JobFailures } from "../platform/job-failures.ts";
import type { Logger } from "../platform/log.ts";
import { createAdmission } from "./budget/admission.ts";
import { createOrphans } from "./upstream/attempt.ts";
import { createBodyReader } from "./request/body.ts";
import { createBudgetQueue } from "./budget/budget-queue.ts";
import { createExactTokens } from "./budget/exact-hold.ts";
import { createCacheSalt } from "./request/cache-salt.ts";
import { createCharges } from "./budget/charges.ts";
import { createCallLimits, type CallLimits } from "./call-limits.ts";
import { type CallCounts, createCallCounts } from "./call-counts.ts";
import { onClientError } from "./client-error.ts";
import { createClient, type Client } from "./client.ts";
import { createTokenCounter, serveCountTokens, type TokenCounter } from "./count-tokens.ts";
import { gatewayError, tokenMissing } from "./errors.ts";
import { isHealthRoute, serveHealth } from "./health-routes.ts";
import { createJournalCipher } from "./budget/journal.ts";
import { createLiveness } from "./liveness.ts";
import { serveMessagesCall, type MessagesCallDeps } from "./messages-call.ts";
import { rememberFrozenModels, type FrozenModels } from "./budget/frozen-models.ts";
import { createModelFreeze } from "./budget/model-freeze.ts";
import type { FindPrice } from "./request/prices.ts";
import { parseCountRequest, parseMessagesRequest } from "./request/request.ts";
import { createRetries } from "./upstream/retries.ts";
import { createRefusalLog } from "./budget/refusal-log.ts";
import { createRunMemory } from "./budget/run-memory.ts";
import { createSettlements } from "./budget/settlements.ts";
import { credentialOf, refusalOfCredential, type KeyCheck } from "./spender.ts";
import { createAnswersElsewhere } from "./answers-elsewhere.ts";
import { createUndelivered } from "./budget/undelivered.ts";
import { createUpstream, type UpstreamOptions } from "./upstream/upstream.ts";

export type GatewayLimits = {
  /** Deadline of one upstream attempt, reading on after the client has gone included. */
  callTimeoutMs: number;
  /** Silence of the provider in a stream, or of a client that does not read, after which it is given up. */
  idleTimeoutMs: number;
  /** How long a call waits for open holds before it is refused. */
  budgetWaitMs: number;
  /** How long a complete answer waits for its charge to become durable; default 10 s. */
  settleWaitMs?: number;
};

export type GatewayDeps = {
  ledger: Ledger;
  /** Models that are stopped because a call of theirs cost more than its bound; default: known to this gateway only. */
  frozenModels?: FrozenModels;
  upstream: UpstreamOptions;
  /** Secret that the keys of stored answers are derived from; another one makes them unreadable. */
  journalKey: string;
  /** Secret that the workspaces' cache salts are derived from; without it, workspaces share cached prompts. */
  cacheSaltKey?: string;
  /** The price table; default: the one in force. Looked up once for each call, so it may change between two. */
  findPrice?: FindPrice;
  /** Holds the input by the provider's count instead of by bytes; what the count misses is borne by the platform. */
  exactHolds?: boolean;
  /** Lets programs with an API key in; without it, run tokens only. */
  checkKey?: KeyCheck;
  log: Logger;
  /** Counts how often the database could not be told that this gateway lives. */
  failures?: JobFailures;
  /** The owner of the holds: the ledger's own process id. */
  processId: string;
  /** Keeps what a call was refused with, for the check that it had to be (`recordRefusal`). */
  recordRefusal?(call: RefusedCall): Promise<void>;
  limits: GatewayLimits;
  /** After so long a silence this process counts as dead; milliseconds. */
  leaseMs?: number | undefined;
  /** Whether this process should be sent calls; without it the health routes do not exist. */
  health?: Pick<Health, "look" | "isDraining">;
  /** How many calls addresses and tokens may make; by default as for everybody. */
  requestLimits?: RequestLimits;
};

export type Gateway = {
  /** Starts listening; port 0 takes a free one. -> the origin that clients use as base URL */
  listen(address: { port: number; host: string }): Promise<{ url: string }>;
  /** Stops accepting, lets open calls end for `drainMs`, then breaks them off and settles them as held. */
  close(options: { drainMs: number }): Promise<void>;
  /** Another gateway stopped a model, or an operator let one go on: learns which. Never throws. */
  refreshFrozenModels(): Promise<void>;
  /** Calls between their first byte and their settlement. */
  openCalls(): number;
  /** Holds whose end is not in the database yet. */
  pendingSettlements(): number;
  /** What has happened so far; the object itself, which goes on counting. */
  counts: Readonly<CallCounts>;
};

/** Answers that are read on for their charge although their client has gone. */
const MAX_ORPHANS = 64;
const SETTLE_WAIT_MS = 10_000;
/** After the drain: time for the last settlements. */
const LAST_SETTLEMENTS_MS = 5_000;
const REQUEST_TIMEOUT_MS = 120_000;

type Handler = (call: {
  spender: Spender;
  raw: Buffer;
  request: IncomingMessage;
  client: Client;
  requestId: string;
}) => Promise<void>;

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function protocolHeaders(request: IncomingMessage) {
  return {
    beta: request.headers["anthropic-beta"],
    version: header(request, "anthropic-version"),
  };
}

/** The one spelling of a route: no escapes, no dots, no doubled slashes, and the query that the official client adds. */
function routeOf(request: IncomingMessage): string {
  const [path = "", query] = (request.url ?? "").split("?", 2);
  return query === undefined || query === "" || query === "beta=true"
    ? `${request.method ?? ""} ${path}`
    : "";
}

function notFound(): AppError {
  return gatewayError({
    status: 404,
    code: "route_not_found",
    message: "Only POST /v1/messages and POST /v1/messages/count_tokens exist here.",
  });
}

function stopping(): AppError {
  return gatewayError({
    status: 503,
    code: "gateway_stopping",
    message: "The gateway is stopping. Try again.",
    retryAfterMs: 1_000,
  });
}

function listening(
  server: Server,
  address: { port: number; host: string },
): Promise<{ url: string }> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.host, () => {
      server.off("error", reject);
      const bound = server.address();
      const port = bound === null || typeof bound === "string" ? address.port : bound.port;
      const host = address.host.includes(":") ? `[${address.host}]` : address.host;
      resolve({ url: `http://${host}:${port}` });
    });
  });
}

function createMessagesDeps(
  deps: GatewayDeps,
  { shutdown, counts }: { shutdown: AbortSignal; counts: CallCounts },
) {
  const { ledger, log, limits } = deps;
  const record = deps.recordRefusal ?? (() => Promise.resolve());
  const settlements = createSettlements({ ledger, log });
  const queue = createBudgetQueue();
  const memory = createRunMemory();
  const freeze = createModelFreeze({ store: deps.frozenModels ?? rememberFrozenModels(), log });
  const cipher = createJournalCipher(deps.journalKey);
  const upstream = createUpstream(deps.upstream);
  const settleWaitMs = limits.settleWaitMs ?? SETTLE_WAIT_MS;
  const charges = createCharges({
    settlements,
    queue,
    freeze,
    memory,
    cipher,
    counts,
    log,
    settleWaitMs,
  });
  const admit = createAdmission({
    ledger,
    queue,
    settlements,
    memory,
    counts,
    refusals: createRefusalLog({ record, log }),
    budgetWaitMs: limits.budgetWaitMs,
  });
  const counter = createTokenCounter({
    ledger,
    upstream,
    shutdown,
    timeoutMs: limits.idleTimeoutMs,
  });
  const calls: MessagesCallDeps = {
    exactTokens: deps.exactHolds === true ? createExactTokens(counter) : undefined,
    ledger,
    upstream,
    charges,
    admit,
    cipher,
    freeze,
    log,
    shutdown,
    limits,
    settlements,
    settleWaitMs,
    undelivered: createUndelivered(),
    answersElsewhere: createAnswersElsewhere({
      ledger,
      shutdown,
      callTimeoutMs: limits.callTimeoutMs,
    }),
    retries: createRetries(),
    orphans: createOrphans(MAX_ORPHANS),
  };
  return { calls, settlements, upstream, counter };
}

function createHandlers(
  deps: GatewayDeps,
  input: { calls: MessagesCallDeps; counter: TokenCounter },
): Record<string, Handler> {
  const saltOf = deps.cacheSaltKey === undefined ? undefined : createCacheSalt(deps.cacheSaltKey);
  const { findPrice } = deps;
  return {
    async "POST /v1/messages"({ spender, raw, request, client, requestId }) {
      const salt = saltOf?.(spender.workspaceId);
      const parsed = parseMessagesRequest({ raw, ...protocolHeaders(request), salt, findPrice });
      if (parsed.status === "refused") return client.fail(parsed.error);
      const retried = Number(header(request, "x-stainless-retry-count") ?? 0) > 0;
      const call = { spender, request: parsed.request, client, requestId, retried };
      await serveMessagesCall(input.calls, call);
    },
    async "POST /v1/messages/count_tokens"({ spender, raw, request, client, requestId }) {
      const salt = saltOf?.(spender.workspaceId);
      const parsed = parseCountRequest({ raw, ...protocolHeaders(request), salt, findPrice });
      if (parsed.status === "refused") return client.fail(parsed.error);
      await serveCountTokens(input.counter, {
        spender,
        request: parsed.request,
        client,
        requestId,
      });
    },
  };
}

/** -> true when that is all that was asked */
function answersHealth(asked: {
  request: IncomingMessage;
  response: ServerResponse;
  health: Pick<Health, "look" | "isDraining">;
}): boolean {
  const { request, response, health } = asked;
  // Whoever keeps the connection would bring the next call here, too.
  if (health.isDraining()) response.setHeader("connection", "close");
  const route = routeOf(request);
  if (!isHealthRoute(route)) return false;
  void serveHealth(route, response, health);
  return true;
}

/** -> who calls, with the client that counts refusals of its credential; undefined: the client has been told why not */
async function letIn(
  { callLimits, checkKey }: { callLimits: CallLimits; checkKey: KeyCheck | undefined },
  { request, client }: { request: IncomingMessage; client: Client },
): Promise<{ spender: Spender; client: Client } | undefined> {
  const credential = credentialOf(request);
  const refused = await callLimits.check(request, credential?.secretHash);
  if (refused) {
    client.fail(refused.error, refused.headers);
    return undefined;
  }
  if (credential === undefined) {
    await callLimits.failed(request);
    client.fail(tokenMissing());
    return undefined;
  }
  const watched = callLimits.watch(request, credential.secretHash, client);
  const refusal = await refusalOfCredential(credential, checkKey);
  if (refusal === undefined) return { spender: credential.spender, client: watched };
  watched.fail(refusal);
  return undefined;
}

/**
 * The only way to the model: a server of the Messages protocol that holds the worst case of each call before it
 * leaves and settles it before its answer ends. Clients authenticate with a run token or an API key, as `x-api-key` or
 * bearer.
 * Protocol: https://platform.claude.com/docs/en/api/messages
 */
export function createGateway(deps: GatewayDeps): Gateway {
  const { log, limits } = deps;
  const shutdown = new AbortController();
  const counts = createCallCounts();
  const parts = createMessagesDeps(deps, { shutdown: shutdown.signal, counts });
  const { settlements, upstream } = parts;
  const handlers = createHandlers(deps, parts);
  const callLimits = createCallLimits(deps.requestLimits ?? createRequestLimits({}));
  const readBody = createBodyReader();
  const liveness = createLiveness(deps);
  const open = new Set<Promise<void>>();
  let closing = false;

  async function serve(request: IncomingMessage, client: Client, requestId: string): Promise<void> {
    const handler = handlers[routeOf(request)];
    if (handler === undefined) return client.fail(notFound());
    const caller = await letIn({ callLimits, checkKey: deps.checkKey }, { request, client });
    if (caller === undefined) return;
    const body = await readBody(request, shutdown.signal);
    if (body.status === "gone") return;
    if (body.status === "stopped") return client.fail(stopping(), { connection: "close" });
    if (body.status === "refused") return client.fail(body.error, { connection: "close" });
    try {
      await liveness.ensure();
      await handler({ ...caller, raw: body.bytes, request, requestId });
    } finally {
      body.release();
    }
  }

  function onFailed(status: number, code: string): void {
    const kind = `${status} ${code}`;
    counts.refusals.set(kind, (counts.refusals.get(kind) ?? 0) + 1);
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    if (deps.health && answersHealth({ request, response, health: deps.health })) return;
    const requestId = newId("req");
    const client = createClient({ response, requestId, stallMs: limits.idleTimeoutMs, onFailed });
    // A connection that was kept alive may still bring a call while the open ones end.
    if (closing) return client.fail(stopping(), { connection: "close" });
    const call = serve(request, client, requestId).catch((error: unknown) => {
      log.error({ err: error, request_id: requestId }, "a call failed");
      client.fail(error);
    });
    open.add(call);
    void call.finally(() => open.delete(call));
  }

  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, onRequest);
  server.on("clientError", onClientError);

  return {
    async listen(address) {
      const bound = await listening(server, address);
      // A database that is away now is no reason not to start: calls are refused until it has been told.
      await liveness
        .ensure()
        .catch((error: unknown) => log.warn({ err: error }, "the database is away"));
      await parts.calls.freeze.refresh();
      return bound;
    },
    async close({ drainMs }) {
      closing = true;
      const closed = new Promise<void>((resolve) => {
        if (server.listening) server.close(() => resolve());
        else resolve();
      });
      server.closeIdleConnections();
      const timer = setTimeout(() => shutdown.abort(), drainMs);
      while (open.size > 0) await Promise.all(open);
      clearTimeout(timer);
      shutdown.abort();
      await settlements.close(LAST_SETTLEMENTS_MS);
      server.closeAllConnections();
      await closed;
      await parts.calls.freeze.stop();
      await liveness.stop();
      await upstream.close();
    },
    refreshFrozenModels: () => parts.calls.freeze.refresh(),
    openCalls: () => open.size,
    pendingSettlements: () => settlements.pending(),
    counts,
  };
}
