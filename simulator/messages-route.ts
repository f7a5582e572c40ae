import type { IncomingMessage, ServerResponse } from "node:http";
import { composeAnswer } from "./protocol/answer.ts";
import { parseJson } from "./body.ts";
import { decide } from "./personas/decide.ts";
import type { Latency } from "./delivery/delivery.ts";
import { deliver } from "./delivery/delivery.ts";
import type { Fault, FaultInjector } from "./delivery/faults.ts";
import { parseFaultPlan } from "./delivery/faults.ts";
import { canonicalJson, hashOf } from "./hash.ts";
import type { CallIdentity, CallMeter, Meter } from "./metering/meter.ts";
import { findModel } from "./metering/prices.ts";
import type { SimulatedModel } from "./metering/prices.ts";
import type { Problem } from "./protocol/problem.ts";
import { problem, problemJson } from "./protocol/problem.ts";
import type { PromptCache } from "./metering/prompt-cache.ts";
import { breakpointProblem } from "./metering/prompt-cache.ts";
import type { PromptSegment } from "./metering/prompt-segments.ts";
import { inputTokensOf, promptSegments } from "./metering/prompt-segments.ts";
import type { MessagesRequest } from "./protocol/request-schema.ts";
import { parseCountRequest, parseMessagesRequest } from "./protocol/request.ts";

export type RouteDeps = {
  seed: string;
  apiKey: string | undefined;
  latency: Latency;
  meter: Meter;
  cache: PromptCache;
  faults: FaultInjector;
};

/** One request as it came in, with the id it was given. */
export type Call = { req: IncomingMessage; res: ServerResponse; text: string; requestId: string };

function header(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function sendProblem(call: Call, failure: Problem): void {
  if (failure.retryAfterSeconds !== undefined)
    call.res.setHeader("retry-after", String(failure.retryAfterSeconds));
  call.res.writeHead(failure.status, { "content-type": "application/json" });
  call.res.end(JSON.stringify(problemJson(failure, call.requestId)));
}

function keyOf(req: IncomingMessage): string {
  const bearer = /^Bearer\s+(.+)$/i.exec(header(req, "authorization") ?? "")?.[1];
  return header(req, "x-api-key") ?? bearer ?? "";
}

function callerProblem(deps: RouteDeps, req: IncomingMessage): Problem | undefined {
  const key = keyOf(req);
  if (key === "") return problem(401, "x-api-key header is required");
  if (deps.apiKey !== undefined && key !== deps.apiKey) return problem(401, "invalid x-api-key");
  return header(req, "anthropic-version") === undefined
    ? problem(400, "anthropic-version: header is required")
    : undefined;
}

function windowProblem(input: {
  segments: readonly PromptSegment[];
  model: SimulatedModel;
  maxTokens: number;
}): string | undefined {
  const tokens = inputTokensOf(input.segments);
  const window = input.model.contextWindowTokens;
  if (tokens > window) return `prompt is too long: ${tokens} tokens > ${window} maximum`;
  if (tokens + input.maxTokens > window)
    return `input length and \`max_tokens\` exceed context limit: ${tokens} + ${input.maxTokens} > ${window}, decrease input length or \`max_tokens\` and try again`;
  return undefined;
}

function chooseFault(
  deps: RouteDeps,
  input: { call: Call; identity: CallIdentity },
): { fault: Fault | undefined } | { problem: Problem } {
  const planned = deps.faults.next({ tag: input.identity.tag, model: input.identity.model });
  const asked = header(input.call.req, "x-sim-fault");
  if (asked === undefined) return { fault: planned };
  const json = parseJson(asked);
  const parsed =
    json === undefined ? { ok: false as const, message: "not JSON" } : parseFaultPlan(json.value);
  return parsed.ok
    ? { fault: parsed.plan[0] }
    : { problem: problem(400, `x-sim-fault: ${parsed.message}`) };
}

function statusOf(fault: Fault | undefined, stream: boolean): Problem | undefined {
  if (fault?.kind === "status") {
    const failure = problem(fault.status, fault.message ?? `Simulated ${fault.status}`);
    const seconds = fault.retry_after_seconds ?? (fault.status === 429 ? 1 : undefined);
    return seconds === undefined ? failure : { ...failure, retryAfterSeconds: seconds };
  }
  // Without a stream there is no place for an error event: the same failure is a status.
  if (fault?.kind === "error_event" && !stream)
    return {
      status: fault.error_type === "overloaded_error" ? 529 : 500,
      type: fault.error_type,
      message: fault.message,
    };
  return undefined;
}

function identityOf(call: Call, body: unknown): CallIdentity {
  const read = (value: unknown, name: string): unknown =>
    value !== null && typeof value === "object" ? Reflect.get(value, name) : undefined;
  const model = read(body, "model");
  const userId = read(read(body, "metadata"), "user_id");
  return {
    requestId: call.requestId,
    apiKeyHash: hashOf([keyOf(call.req)], 16),
    userId: typeof userId === "string" ? userId : null,
    model: typeof model === "string" ? model : "",
    tag: header(call.req, "x-sim-tag") ?? null,
    clientRequestId: header(call.req, "x-client-request-id") ?? null,
  };
}

type Accepted = {
  request: MessagesRequest;
  model: SimulatedModel;
  segments: PromptSegment[];
  fault: Fault | undefined;
};

function accept(
  deps: RouteDeps,
  input: { call: Call; body: { value: unknown } | undefined; identity: CallIdentity },
): Accepted | { problem: Problem } {
  const { call, body } = input;
  const stranger = callerProblem(deps, call.req);
  if (stranger !== undefined) return { problem: stranger };
  if (body === undefined) return { problem: problem(400, "The request body is not valid JSON") };
  const parsed = parseMessagesRequest(body.value, header(call.req, "anthropic-beta") !== undefined);
  if (!parsed.ok) return parsed;
  const { request, model } = parsed;
  const segments = promptSegments(request);
  const refused =
    breakpointProblem(segments) ??
    windowProblem({ segments, model, maxTokens: request.max_tokens });
  if (refused !== undefined) return { problem: problem(400, refused) };
  const chosen = chooseFault(deps, input);
  if ("problem" in chosen) return chosen;
  const status = statusOf(chosen.fault, request.stream === true);
  return status === undefined
    ? { request, model, segments, fault: chosen.fault }
    : { problem: status };
}

async function answer(
  deps: RouteDeps,
  input: { call: Call; accepted: Accepted; row: CallMeter; owner: string },
): Promise<void> {
  const { call, row } = input;
  const { request, model, segments, fault } = input.accepted;
  const split = deps.cache.use({
    owner: input.owner,
    modelId: model.id,
    minCacheableTokens: model.minCacheableTokens,
    segments,
  });
  row.admitted(split);
  if (fault !== undefined) row.faulted(fault.kind);
  const { stream, ...rest } = request;
  const callHash = hashOf([deps.seed, canonicalJson(rest)]);
  const repeated = fault?.kind === "repeat" ? fault.calls : 0;
  const facts = {
    messageId: `msg_sim_${callHash}`,
    modelId: model.id,
    split,
    answer: composeAnswer({ decision: decide(request, { repeated }), request, callHash }),
  };
  const delivered = await deliver(
    { res: call.res, facts, latency: deps.latency, fault, requestId: call.requestId },
    stream === true,
  );
  row.generated(delivered.outputTokens);
  row.finished(delivered);
}

/** `POST /v1/messages`: one row in the meter per call, whatever becomes of it. */
export async function handleMessages(deps: RouteDeps, call: Call): Promise<void> {
  const body = parseJson(call.text);
  const identity = identityOf(call, body?.value);
  const row = deps.meter.open({ identity, model: findModel(identity.model) });
  const accepted = accept(deps, { call, body, identity });
  if ("problem" in accepted) {
    row.refused({ status: accepted.problem.status, errorType: accepted.problem.type });
    sendProblem(call, accepted.problem);
    return;
  }
  await answer(deps, { call, accepted, row, owner: identity.apiKeyHash });
}

/** `POST /v1/messages/count_tokens`: exactly the input that the same call would be billed, all kinds together. */
export function handleCountTokens(deps: RouteDeps, call: Call): void {
  const stranger = callerProblem(deps, call.req);
  if (stranger !== undefined) return sendProblem(call, stranger);
  const body = parseJson(call.text);
  if (body === undefined)
    return sendProblem(call, problem(400, "The request body is not valid JSON"));
  const parsed = parseCountRequest(body.value, header(call.req, "anthropic-beta") !== undefined);
  if (!parsed.ok) return sendProblem(call, parsed.problem);
  call.res.writeHead(200, { "content-type": "application/json" });
  call.res.end(JSON.stringify({ input_tokens: inputTokensOf(promptSegments(parsed.request)) }));
}
