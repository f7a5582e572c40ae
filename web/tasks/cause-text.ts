import { t, type MessageKey } from "../messages/translate.ts";

const causes = new Map<string, readonly [happened: CauseKey, advice: CauseKey]>([
  ["attempts_exhausted", ["cause.attempts", "cause.attempts.advice"]],
  ["time_limit", ["cause.time", "cause.time.advice"]],
  ["call_limit", ["cause.calls", "cause.calls.advice"]],
  ["loop", ["cause.loop", "cause.loop.advice"]],
  ["model_unavailable", ["cause.model", "cause.model.advice"]],
  ["model_refused_request", ["cause.modelRefused", "cause.modelRefused.advice"]],
  ["refused", ["cause.refused", "cause.refused.advice"]],
  ["context_full", ["cause.context", "cause.context.advice"]],
  ["output_limit", ["cause.output", "cause.output.advice"]],
  ["agent_error", ["cause.agent", "cause.agent.advice"]],
]);

type CauseKey = Extract<MessageKey, `cause.${string}`>;

/** Why a task failed, in a line: in words where there are some for it, else by its name. */
export function causeLine(cause: string | null): string | undefined {
  const known = causes.get(cause ?? "");
  return known === undefined ? (cause ?? undefined) : t(known[0]);
}

/** Why a task failed, in words, and what its owner can do about it. */
export function causeText(cause: string | null): { happened: string; advice: string } {
  const [happened, advice] = causes.get(cause ?? "") ?? ["cause.other", "cause.other.advice"];
  return { happened: t(happened), advice: t(advice) };
}
