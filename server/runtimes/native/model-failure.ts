import Anthropic from "@anthropic-ai/sdk";
import { parkedSchema } from "@guildhall/sdk/contract/task.ts";
import { z } from "zod";
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

/** 402: the budget says no. The run waits for money instead of failing. */
function outOfBudget(detail: ErrorDetail): ModelFailure {
  if (detail.type === "call_limit_reached") return failed("call_limit", detail.message);
  const reason = parkedSchema.safeParse({ kind: "limit", ...detail.details });
  if (!reason.success || reason.data.kind !== "limit")
    return failed("budget_exhausted", detail.message);
  const wakeAt = reason.data.resets_at;
  return {
    kind: "end",
    outcome: {
      status: "parked",
      state: "paused",
      reason: reason.data,
      ...(wakeAt === undefined ? {} : { wakeAt }),
    },
  };
}

/** What another try of the same request would not change. */
function refused(status: number, detail: ErrorDetail): ModelFailure {
  if (detail.code === "run_not_active") return { kind: "end", outcome: { status: "lost" } };
  if (detail.code === "model_not_priced") return failed("model_not_priced", detail.message);
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
export function readModelFailure(error: unknown): ModelFailure {
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
  if (status === 402) return outOfBudget(detail);
  if (status < 500 && !RETRIED_4XX.has(status)) return refused(status, detail);
  return {
    kind: "retry",
    code: detail.code ?? detail.type,
    message: detail.message,
    ...retryAfterMs(error.headers),
  };
}
