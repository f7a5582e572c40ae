import type { AppError } from "../../platform/errors.ts";
import type { Charges, Durability, Hold } from "../budget/charges.ts";
import type { Client } from "../client.ts";
import { MAX_ANSWER_BYTES } from "../budget/journal.ts";
import { brokeOff, chargeNotDurable, readProviderError, unreachable } from "./provider-error.ts";
import type { MessagesRequest } from "../request/request.ts";
import { createStreamTap, type StreamTap } from "../answer/stream-tap.ts";
import type { Upstream, UpstreamAnswer } from "./upstream.ts";
import { createWatch, type Watch } from "./watch.ts";
import { readWholeAnswer } from "../answer/whole-answer.ts";

/** How an attempt ended. Its hold is settled, or being settled, in every case. */
export type AttemptEnd =
  /** The client has its answer, or has gone. */
  | { status: "answered" }
  /** The client was refused a complete answer because its charge is not durable yet. */
  | { status: "withheld" }
  /** The client has no answer yet. `retryAfterMs`: what the provider asked for. */
  | {
      status: "failed";
      error: AppError;
      retryable: boolean;
      retryAfterMs: number | undefined;
    };

export type AttemptDeps = {
  upstream: Upstream;
  charges: Charges;
  orphans: Orphans;
  shutdown: AbortSignal;
  limits: { callTimeoutMs: number; idleTimeoutMs: number };
};

export type Attempt = {
  request: MessagesRequest;
  hold: Hold;
  client: Client;
  /** Headers of the answer that the gateway adds. */
  headers: Readonly<Record<string, string>>;
};

type Answered = Extract<UpstreamAnswer, { status: "answered" }>;

const MAX_WHOLE_BYTES = 64 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;

/** Counts the calls whose client has gone and whose answer is still read for its charge. */
export type Orphans = { adopt(workspaceId: string, watch: Watch): () => void };

/**
 * At most `limit` answers are read on without a client. Beyond it one is given up at its held amount: the last of the
 * workspace that has most of them, so that nobody's absence makes the calls of others dearer.
 */
export function createOrphans(limit: number): Orphans {
  const openOf = new Map<string, Set<Watch>>();
  let open = 0;

  function leave(workspaceId: string, watch: Watch): void {
    const own = openOf.get(workspaceId);
    if (own?.delete(watch) !== true) return;
    open -= 1;
    if (own.size === 0) openOf.delete(workspaceId);
  }

  function giveOneUp(): void {
    const [most] = [...openOf].toSorted(([, a], [, b]) => b.size - a.size);
    if (most === undefined) return;
    const [workspaceId, own] = most;
    const last = [...own].at(-1);
    if (last === undefined) return;
    leave(workspaceId, last);
    last.stop("abandoned");
  }

  return {
    adopt(workspaceId, watch) {
      const own = openOf.get(workspaceId) ?? new Set();
      openOf.set(workspaceId, own.add(watch));
      open += 1;
      if (open > limit) giveOneUp();
      return () => leave(workspaceId, watch);
    },
  };
}

function header(answer: Answered, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The provider's own name of the request, when it gave one: passed on, and stored with the charge. */
function requestIdOf(answer: Answered): { "request-id"?: string } {
  const requestId = header(answer, "request-id");
  return requestId !== undefined && /^[\w.:-]{1,200}$/.test(requestId)
    ? { "request-id": requestId }
    : {};
}

function storedIdOf(answer: Answered): { request_id?: string } {
  const { "request-id": id } = requestIdOf(answer);
  return id === undefined ? {} : { request_id: id };
}

function answerHeaders(attempt: Attempt, answer: Answered): Record<string, string> {
  return { ...attempt.headers, ...requestIdOf(answer) };
}

/** Keeps what passes, as long as it is small enough for the journal. */
function createKeeper() {
  let parts: Buffer[] | undefined = [];
  let bytes = 0;
  return {
    keep(chunk: Buffer) {
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) parts = undefined;
      else parts?.push(chunk);
    },
    kept: () => (parts === undefined ? undefined : Buffer.concat(parts)),
  };
}

/** Passes a stream through. The terminal frame goes on only when the charge is durable. */
async function passStream(
  deps: AttemptDeps,
  input: { attempt: Attempt; answer: Answered; watch: Watch },
): Promise<AttemptEnd> {
  const { attempt, answer, watch } = input;
  const { client, hold, request } = attempt;
  const options = { price: request.price, largestTtl: request.largestTtl ?? ("5m" as const) };
  const tap = createStreamTap(options);
  const keeper = createKeeper();
  let cause: unknown;
  client.begin(200, {
    ...answerHeaders(attempt, answer),
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
  });
  try {
    for (;;) {
      const chunk = await answer.body.next();
      if (chunk === undefined) break;
      watch.pause();
      keeper.keep(chunk);
      await client.write(tap.push(chunk));
      if (tap.finished()) break;
      watch.heard();
    }
  } catch (error) {
    cause = error;
  }
  if (!tap.finished()) await client.write(tap.end());
  const verdict = tap.verdict();
  const body = verdict.status === "clean" ? keeper.kept() : undefined;
  const durability = await deps.charges.answer(hold, {
    request,
    verdict,
    usageRecord: { ...tap.usageRecord(), ...storedIdOf(answer) },
    thinkingMarks: tap.thinkingMarks(),
    stored:
      body === undefined ? undefined : { contentType: "text/event-stream; charset=utf-8", body },
  });
  const error = brokeOff(watch.reason(), cause);
  finishStream(client, { tap, durability, error, withoutKey: deps.upstream.withoutKey });
  return { status: tap.finished() && durability === "late" ? "withheld" : "answered" };
}

function finishStream(
  client: Client,
  end: {
    tap: StreamTap;
    durability: Durability;
    error: AppError;
    withoutKey: Upstream["withoutKey"];
  },
): void {
  const { tap } = end;
  // What the client has of an unfinished frame must not swallow the error event that follows.
  if (tap.openFrame()) void client.write([Buffer.from("\n\n")]);
  if (!tap.finished()) return client.fail(end.error);
  if (end.durability === "late") return client.fail(chargeNotDurable());
  // One byte is one character here, so all but the key stays as it is.
  const held = Buffer.concat(tap.takeHeld()).toString("latin1");
  client.end([Buffer.from(end.withoutKey(held), "latin1")]);
}

async function readAll(
  answer: Answered,
  options: { watch: Watch; limit: number },
): Promise<{ status: "read"; body: Buffer } | { status: "broken"; body: Buffer; cause: unknown }> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for (;;) {
      const chunk = await answer.body.next();
      if (chunk === undefined) break;
      options.watch.heard();
      bytes += chunk.length;
      if (bytes > options.limit) throw new Error("the answer is too large");
      parts.push(chunk);
    }
    return { status: "read", body: Buffer.concat(parts) };
  } catch (cause) {
    return { status: "broken", body: Buffer.concat(parts), cause };
  }
}

/** Hands a whole JSON answer on once its charge is durable. */
async function passWhole(
  deps: AttemptDeps,
  input: { attempt: Attempt; answer: Answered; watch: Watch },
): Promise<AttemptEnd> {
  const { attempt, answer, watch } = input;
  const { client, hold, request } = attempt;
  const read = await readAll(answer, { watch, limit: MAX_WHOLE_BYTES });
  const whole = readWholeAnswer(read.body, {
    price: request.price,
    largestTtl: request.largestTtl ?? "5m",
  });
  const contentType = "application/json";
  const durability = await deps.charges.answer(hold, {
    request,
    ...whole,
    usageRecord: { ...whole.usageRecord, ...storedIdOf(answer) },
    verdict:
      read.status === "read"
        ? whole.verdict
        : { status: "unknown", reason: "the answer broke off" },
    stored:
      read.status === "read" &&
      whole.verdict.status === "clean" &&
      read.body.length <= MAX_ANSWER_BYTES
        ? { contentType, body: read.body }
        : undefined,
  });
  if (read.status === "broken" || !whole.readable) {
    const error = brokeOff(watch.reason(), read.status === "broken" ? read.cause : undefined);
    return { status: "failed", error, retryable: false, retryAfterMs: undefined };
  }
  if (durability === "late") {
    client.fail(chargeNotDurable());
    return { status: "withheld" };
  }
  client.begin(200, {
    ...answerHeaders(attempt, answer),
    "content-type": contentType,
    "content-length": String(read.body.length),
  });
  client.end([read.body]);
  return { status: "answered" };
}

async function takeAnswer(
  deps: AttemptDeps,
  input: { attempt: Attempt; answer: UpstreamAnswer; watch: Watch },
): Promise<AttemptEnd> {
  const { attempt, answer, watch } = input;
  const { hold } = attempt;
  if (answer.status === "not_sent") {
    await deps.charges.nothing(hold);
    const retryable = watch.reason() === undefined;
    const error = retryable ? unreachable(answer.cause) : brokeOff(watch.reason(), answer.cause);
    return { status: "failed", error, retryable, retryAfterMs: undefined };
  }
  if (answer.status === "unknown") {
    await deps.charges.unknown(
      hold,
      watch.reason() ?? "the connection broke before an answer came",
    );
    const error = brokeOff(watch.reason(), answer.cause);
    return { status: "failed", error, retryable: false, retryAfterMs: undefined };
  }
  watch.heard();
  const encoding = header(answer, "content-encoding") ?? "identity";
  if (answer.statusCode === 200 && encoding !== "identity") {
    // Asked not to; what cannot be read cannot be metered.
    await deps.charges.unknown(hold, `the answer has the encoding ${encoding.slice(0, 40)}`);
    const error = brokeOff(watch.reason());
    return { status: "failed", error, retryable: false, retryAfterMs: undefined };
  }
  if (answer.statusCode === 200) {
    const streamed = header(answer, "content-type")?.startsWith("text/event-stream") ?? false;
    return streamed
      ? passStream(deps, { attempt, answer, watch })
      : passWhole(deps, { attempt, answer, watch });
  }
  const read = await readAll(answer, { watch, limit: MAX_ERROR_BYTES });
  const text = deps.upstream.withoutKey(read.body.toString("utf8"));
  const refusal = readProviderError({ ...answer, text });
  if (refusal.unbilled) await deps.charges.nothing(hold);
  else await deps.charges.unknown(hold, `the provider answered ${answer.statusCode}`);
  return { status: "failed", ...refusal };
}

/** Sends one request that money is held for, passes the answer on, and settles the hold by what came back. */
export async function runAttempt(deps: AttemptDeps, attempt: Attempt): Promise<AttemptEnd> {
  const { request, hold, client } = attempt;
  if (client.gone.aborted || deps.shutdown.aborted) {
    await deps.charges.nothing(hold);
    return {
      status: "failed",
      error: brokeOff("shutdown"),
      retryable: false,
      retryAfterMs: undefined,
    };
  }
  const watch = createWatch({
    deadlineMs: deps.limits.callTimeoutMs,
    // Without a stream the provider is silent until the answer is complete.
    idleMs: request.body.stream === true ? deps.limits.idleTimeoutMs : deps.limits.callTimeoutMs,
    shutdown: deps.shutdown,
  });
  let release = (): void => {};
  const onGone = (): void => {
    release = deps.orphans.adopt(hold.workspaceId, watch);
  };
  client.gone.addEventListener("abort", onGone, { once: true });
  let answer: UpstreamAnswer | undefined;
  try {
    answer = await deps.upstream.send({
      path: "/v1/messages",
      body: request.serialise(hold.maxTokens),
      version: request.version,
      betas: request.betas,
      clientRequestId: hold.id,
      signal: watch.signal,
    });
    return await takeAnswer(deps, { attempt, answer, watch });
  } catch (error) {
    // The request may have left, and nobody else ends a hold while this process lives.
    await deps.charges.unknown(hold, "the gateway failed at this call");
    throw error;
  } finally {
    watch.end();
    release();
    client.gone.removeEventListener("abort", onGone);
    if (answer?.status === "answered") answer.body.letGo();
  }
}
