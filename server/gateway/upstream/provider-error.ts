import type { AppError } from "../../platform/errors.ts";
import { errorTypeOf, gatewayError } from "../errors.ts";
import type { StopReason } from "./watch.ts";

/** What an error status of the provider means for the charge and for another try. */
export type ProviderRefusal = {
  error: AppError;
  /** False where the provider may have worked before it failed: the charge then stays at what was held. */
  unbilled: boolean;
  retryable: boolean;
  retryAfterMs: number | undefined;
};

/** Statuses before the first byte of an answer for which the provider bills nothing. */
const BUSY: ReadonlySet<number> = new Set([429, 500, 503, 529]);

function readRetryAfter(headers: Headers): number | undefined {
  const ms = Number(headers["retry-after-ms"] ?? Number.NaN);
  if (Number.isFinite(ms) && ms >= 0) return ms;
  const seconds = Number(headers["retry-after"] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : undefined;
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

function messageIn(text: string): string | undefined {
  try {
    const body: unknown = JSON.parse(text);
    if (body === null || typeof body !== "object" || !("error" in body)) return undefined;
    const { error } = body;
    const message =
      error !== null && typeof error === "object" && "message" in error ? error.message : undefined;
    return typeof message === "string" && message !== "" ? message.slice(0, 4_000) : undefined;
  } catch {
    return undefined;
  }
}

/** What the provider says of the account that pays, with a 400 as if the request were wrong. */
const OF_THE_ACCOUNT = /credit balance is too low|specified API usage limits/i;

/** The error that the client gets. Faults of the installation (its key, its account) are told apart from the client's. */
function clientError(status: number, text: string, retryAfterMs: number | undefined): AppError {
  const message = messageIn(text);
  const ofAccount = status === 400 && OF_THE_ACCOUNT.test(message ?? "");
  if (status === 401 || status === 402 || status === 403 || ofAccount)
    return gatewayError({
      status: 502,
      code: "provider_refused_installation",
      message:
        "The model provider refused this installation's key or account. The operator has to correct it.",
      internal: `the provider answered ${status}: ${message ?? "without a message"}`,
      final: true,
    });
  if (status < 400 || status > 599)
    return gatewayError({
      status: 502,
      code: "provider_answer_unreadable",
      message: `The model provider answered with status ${status}, which is no answer to a message.`,
      final: true,
    });
  if (status === 429)
    return gatewayError({
      status,
      code: "provider_rate_limited",
      // The provider's own text names the installation's account and its limits.
      message: "The model provider is limiting this installation's requests. Try again later.",
      internal: message ?? "the provider answered 429",
      retryAfterMs: retryAfterMs ?? 5_000,
      final: true,
    });
  if (status >= 500)
    return gatewayError({
      status,
      code: "provider_failed",
      message: `The model provider failed (${status}). Try again later.`,
      internal: message ?? `the provider answered ${status}`,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      final: true,
    });
  return gatewayError({
    status,
    type: errorTypeOf(status),
    code: "provider_refused",
    message: message ?? `The model provider refused the request (${status}).`,
  });
}

/** Reads an error status of the provider and the beginning of its body. */
export function readProviderError(answer: {
  statusCode: number;
  headers: Headers;
  text: string;
}): ProviderRefusal {
  const { statusCode, headers, text } = answer;
  const retryAfterMs = readRetryAfter(headers);
  return {
    error: clientError(statusCode, text, retryAfterMs),
    // Any other success is no answer of the protocol, but the provider may have worked for it.
    unbilled: (statusCode >= 300 && statusCode < 500) || BUSY.has(statusCode),
    retryable: BUSY.has(statusCode),
    retryAfterMs,
  };
}

/** The provider could not be reached at all. */
export function unreachable(cause: unknown): AppError {
  return gatewayError({
    status: 502,
    code: "provider_unreachable",
    message: "The model provider cannot be reached. Try again later.",
    cause,
    retryAfterMs: 5_000,
    final: true,
  });
}

const BROKEN: Readonly<
  Record<StopReason | "broken", { status: number; code: string; what: string }>
> = {
  deadline: { status: 504, code: "provider_timeout", what: "took longer than a call may" },
  idle: { status: 504, code: "provider_timeout", what: "fell silent" },
  shutdown: {
    status: 503,
    code: "gateway_stopping",
    what: "was cut off because the gateway is stopping",
  },
  abandoned: { status: 502, code: "provider_broke_off", what: "was given up" },
  broken: { status: 502, code: "provider_broke_off", what: "broke off" },
};

/** The answer did not come to its end. What it cost is not known, so it is charged as held until it is. */
export function brokeOff(reason: StopReason | undefined, cause?: unknown): AppError {
  const { status, code, what } = BROKEN[reason ?? "broken"];
  return gatewayError({
    status,
    code,
    message: `The answer of the model provider ${what}. It is charged as held until its true cost is known.`,
    cause,
    final: true,
  });
}

/** The answer is complete, but its charge is not in the database yet, so it cannot be handed out. */
/** The same call is still being answered at another gateway, for longer than any call may last. */
export function callInProgress(): AppError {
  return gatewayError({
    status: 503,
    code: "call_in_progress",
    message: "The same call is still being answered at another gateway. Try again.",
    retryAfterMs: 5_000,
  });
}

export function chargeNotDurable(): AppError {
  return gatewayError({
    status: 503,
    code: "charge_not_durable",
    message: "The answer is complete, but its charge could not be recorded in time. Try again.",
    retryAfterMs: 5_000,
  });
}
