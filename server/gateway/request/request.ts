import { hash } from "node:crypto";
import type { AppError } from "../../platform/errors.ts";
import type { ZodType } from "zod";
import { sortBetas } from "./betas.ts";
import { invalidRequest, modelNotPriced } from "../errors.ts";
import type { ModelPrice } from "./model-price.ts";
import { findPrice, type FindPrice } from "./prices.ts";
import { applyCacheSalt } from "./cache-salt.ts";
import { readCacheMarks } from "./cache-marks.ts";
import { sortFields } from "./fields.ts";
import { firstFault } from "./first-fault.ts";
import {
  countSchema,
  messagesSchema,
  type CountBody,
  type MessagesBody,
} from "./request-schema.ts";
import { parseStrictJson, type JsonObject } from "./strict-json.ts";

/** A request that was understood in full: what it may cost is known. */
export type PricedRequest<Body extends CountBody> = {
  body: Body;
  price: ModelPrice;
  /** Value for the upstream's `anthropic-version`. */
  version: string;
  /** Values for the upstream's `anthropic-beta`. */
  betas: readonly string[];
  /** Fields and betas that were taken out, for the header `guildhall-dropped`. */
  dropped: readonly string[];
  largestTtl: "5m" | "1h" | undefined;
  /** At most so many input tokens are added to the body that was sent, against the sharing of cache entries. */
  saltTokens: number;
  /** SHA-256, hex, of everything that decides the answer; equal for a call that is repeated. */
  requestHash: string;
  /** The bytes for the provider, in the client's key order; with `maxTokens`, clamped to it. */
  serialise(maxTokens?: number): Buffer;
  /** The bytes for `count_tokens`: the same prompt without what only concerns the answer. */
  serialiseForCount(): Buffer;
};

export type MessagesRequest = PricedRequest<MessagesBody>;

export type ParsedRequest<Body extends CountBody> =
  | { status: "accepted"; request: PricedRequest<Body> }
  | { status: "refused"; error: AppError };

/** The version that is asked for when the client names none. */
export const PROTOCOL_VERSION = "2023-06-01";

/** Versions whose streams and usage reports are the ones that the gateway reads. */
const VERSIONS: ReadonlySet<string> = new Set([PROTOCOL_VERSION, "2026-10-21"]);

const COUNT_FIELDS: ReadonlySet<string> = new Set(Object.keys(countSchema.shape));

/** The least output that is worth a call, and the least that has room for the smallest thinking budget too. */
const FLOOR_TOKENS = 1_024;
const THINKING_FLOOR_TOKENS = 2_048;
const LEAST_THINKING_TOKENS = 1_024;

/** The least `max_tokens` that the request may be clamped to. */
export function leastTokens(body: Pick<MessagesBody, "max_tokens" | "thinking">): number {
  const floor = body.thinking?.type === "enabled" ? THINKING_FLOOR_TOKENS : FLOOR_TOKENS;
  return Math.min(body.max_tokens, floor);
}

function clampedThinking(thinking: JsonObject, maxTokens: number): JsonObject {
  const budget = thinking["budget_tokens"];
  if (typeof budget !== "number" || budget < maxTokens) return thinking;
  return { ...thinking, budget_tokens: Math.max(LEAST_THINKING_TOKENS, Math.floor(maxTokens / 2)) };
}

function hashOf(bytes: Buffer, headers: { version: string; betas: readonly string[] }): string {
  const head = Buffer.from(`${headers.version}\n${headers.betas.join(",")}\n`);
  return hash("sha256", Buffer.concat([head, bytes]));
}

type Input = {
  raw: Uint8Array;
  /** The headers `anthropic-beta` and `anthropic-version`. */
  beta: string | readonly string[] | undefined;
  version: string | undefined;
  /** Separates the cache entries of the workspace from all others. */
  salt?: string | undefined;
  /** The price table; default: the one in force. */
  findPrice?: FindPrice | undefined;
};

function parseWith<Body extends CountBody>(
  input: Input,
  options: { schema: ZodType<Body>; force(fields: JsonObject, price: ModelPrice): string[] },
): ParsedRequest<Body> {
  const version = input.version ?? PROTOCOL_VERSION;
  if (!VERSIONS.has(version))
    return {
      status: "refused",
      error: invalidRequest(
        "anthropic-version",
        `only ${[...VERSIONS].join(" and ")} can be metered`,
      ),
    };
  const betas = sortBetas(input.beta);
  if (betas.status === "refused") return betas;
  const json = parseStrictJson(input.raw);
  if (json.status === "refused")
    return { status: "refused", error: invalidRequest("", json.message) };
  const sorted = sortFields(json.value);
  if (sorted.status === "refused") return sorted;
  const { fields } = sorted;
  const checked = options.schema.safeParse(fields);
  if (!checked.success) {
    const fault = firstFault(checked.error);
    return { status: "refused", error: invalidRequest(fault.field, fault.message) };
  }
  const body = checked.data;
  const price = (input.findPrice ?? findPrice)(body.model);
  if (price === undefined) return { status: "refused", error: modelNotPriced(body.model) };
  const forced = options.force(fields, price);
  const marks = readCacheMarks(body);
  const salted =
    input.salt === undefined
      ? { tokens: 0, dropped: [] }
      : applyCacheSalt(fields, { salt: input.salt, marks });
  const whole = Buffer.from(JSON.stringify(fields));
  return {
    status: "accepted",
    request: {
      body,
      price,
      version,
      betas: betas.passed,
      dropped: [...sorted.dropped, ...forced, ...salted.dropped, ...betas.dropped],
      largestTtl: marks.largestTtl,
      saltTokens: salted.tokens,
      requestHash: hashOf(whole, { version, betas: betas.passed }),
      serialise(maxTokens) {
        if (maxTokens === undefined || maxTokens === fields["max_tokens"]) return whole;
        const thinking = fields["thinking"];
        const lowered =
          thinking !== null && typeof thinking === "object" && !Array.isArray(thinking)
            ? { thinking: clampedThinking(thinking, maxTokens) }
            : {};
        return Buffer.from(JSON.stringify({ ...fields, max_tokens: maxTokens, ...lowered }));
      },
      serialiseForCount: () =>
        Buffer.from(
          JSON.stringify(
            Object.fromEntries(Object.entries(fields).filter(([name]) => COUNT_FIELDS.has(name))),
          ),
        ),
    },
  };
}

/** Sets what would otherwise follow the account's defaults, which may cost more. -> fields whose value was changed */
function forcePriced(fields: JsonObject, price: ModelPrice): string[] {
  const changed: string[] = [];
  if (fields["service_tier"] === "auto") changed.push("service_tier");
  if (fields["speed"] !== undefined) delete fields["speed"];
  fields["service_tier"] = "standard_only";
  if (price.pinsGeo) fields["inference_geo"] = "global";
  else delete fields["inference_geo"];
  return changed;
}

function outputFault(request: MessagesRequest): AppError | undefined {
  const { body, price } = request;
  if (body.max_tokens > price.maxOutputTokens)
    return invalidRequest(
      "max_tokens",
      `${body.max_tokens} is more than the ${price.maxOutputTokens} output tokens of ${price.id}`,
    );
  if (body.thinking?.type === "enabled" && body.thinking.budget_tokens >= body.max_tokens)
    return invalidRequest("thinking.budget_tokens", "must be less than max_tokens");
  return undefined;
}

/** Checks the body of `POST /v1/messages`: strict JSON, every field known, the model priced. Else a 400. */
export function parseMessagesRequest(input: Input): ParsedRequest<MessagesBody> {
  const parsed = parseWith(input, { schema: messagesSchema, force: forcePriced });
  if (parsed.status === "refused") return parsed;
  const error = outputFault(parsed.request);
  return error === undefined ? parsed : { status: "refused", error };
}

/** Checks the body of `POST /v1/messages/count_tokens` in the same way. */
export function parseCountRequest(input: Input): ParsedRequest<CountBody> {
  return parseWith(input, { schema: countSchema, force: () => [] });
}
