import Anthropic from "@anthropic-ai/sdk";
import { z } from "zod";
import { callsUsedUp, reachedLimitSchema, type ParkReason } from "../park-reason.ts";
import type { RunOutcome } from "../runtime.ts";

/** What a failed model call means for the run. */
export type ModelFailure =
  | { kind: "retry"; code: string; message: string; retryAfterMs?: number }
  | { kind: "end"; outcome: RunOutcome };

/** Error body of the Messages protocol, with the gateway's additions `code` and `details`. */
const errorBody = z.object({
  error: z.object({
    type: z.string(),
    message: z.string(),
    code: z.string().optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
});
type ErrorDetail = z.infer<typeof errorBody>["error"];

function failed(cause: string, message: string): ModelFailure {
  return { kind: "end", outcome: { status: "failed", cause, message } };
}

/** What a call was about, for what the gateway's words leave out. */
export type FailedCall = { taskId: string; model: string };

function paused(reason: ParkReason): ModelFailure {
  return { kind: "end", outcome: { status: "parked", state: "paused", reason } };
}

const callLimitDetails = z.object({ limit: z.int() });
const suspendedDetails = z.object({ reason: z.string() });

/** 402: a limit says no. The run waits instead of failing, and what it waits for is told apart by the code. */
function refusedByLimit(detail: ErrorDetail, { taskId }: FailedCall): ModelFailure {
  if (detail.code === "workspace_suspended") {
    const suspended = suspendedDetails.safeParse(detail.details);
    return paused({
      kind: "suspended",
      reason: suspended.success ? suspended.data.reason : "operator",
    });
  }
  if (detail.type === "call_limit_reached") {
    const calls = callLimitDetails.safeParse(detail.details);
    return calls.success
      ? paused(callsUsedUp({ meter: "model_calls", taskId, limit: calls.data.limit }))
      : failed("call_limit", detail.message);
  }
  const status = detail.code === "budget_reserved" ? "reserved" : "exhausted";
  const reached = reachedLimitSchema.safeParse({ ...detail.details, status });
  return reached.success
    ? paused({ kind: "limit", ...reached.data })
    : failed("budget_exhausted", detail.message);
}

/** What another try of the same request would not change. */
function refused(status: number, detail: ErrorDetail, { model }: FailedCall): ModelFailure {
  if (detail.code === "run_not_active") return { kind: "end", outcome: { status: "lost" } };
  if (detail.code === "model_not_priced") return paused({ kind: "unpriced", model });
  if (status === 401 || status === 403)
    return failed(
      "model_unavailable",
      `The model provider refused the installation's key: ${detail.message}`,
    );
  if (status === 404) return failed("model_unavailable", detail.message);
  const full = status === 413 || /prompt is too long|context window/i.test(detail.message);
  return failed(full ? "context_full" : "model_refused_request", detail.message);
}

function retryAfterMs(headers: Headers | undefined): { retryAfterMs: number } | object {
  const seconds = Number(headers?.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? { retryAfterMs: seconds * 1_000 } : {};
}

const RETRIED_4XX = new Set([408, 409, 425, 429]);

/**
 * Reads an error of the official client. The gateway has made its own tries already, so what arrives here as
 * temporary is tried again only a few times and with longer pauses.
 */
export function readModelFailure(error: unknown, call: FailedCall): ModelFailure {
  if (!(error instanceof Anthropic.APIError)) {
    // Thrown while the stream was read: a cut connection, or frames that are not of the protocol.
    const message = error instanceof Error ? error.message : String(error);
    return { kind: "retry", code: "answer_incomplete", message };
  }
  const status: unknown = error.status;
  const parsed = errorBody.safeParse(error.error);
  const detail = parsed.success
    ? parsed.data.error
    : { type: "api_error", message: error.message.slice(0, 500) };
  if (typeof status !== "number")
    return {
      kind: "retry",
      code: parsed.success ? detail.type : "connection_lost",
      message: detail.message,
    };
  if (status === 402) return refusedByLimit(detail, call);
  if (status < 500 && !RETRIED_4XX.has(status)) return refused(status, detail, call);
  return {
    kind: "retry",
    code: detail.code ?? detail.type,
    message: detail.message,
    ...retryAfterMs(error.headers),
  };
}
