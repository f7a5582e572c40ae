import type { AppError } from "../../platform/errors.ts";
import { invalidRequest } from "../errors.ts";

/** Beta features that change no price, or none beyond what the hold covers anyway. */
const PRICED: ReadonlySet<string> = new Set([
  "effort-2025-11-24",
  "extended-cache-ttl-2025-04-11",
  "fine-grained-tool-streaming-2025-05-14",
  "model-context-window-exceeded-2025-08-26",
  "pdfs-2024-09-25",
  "prompt-caching-2024-07-31",
  "structured-outputs-2025-11-13",
  "thinking-display-updates-2026-08-18",
  "token-counting-2024-11-01",
  "token-efficient-tools-2025-02-19",
]);

/** Beta features that the official clients ask for and that an answer does not need. */
const OPTIONAL: ReadonlySet<string> = new Set([
  "cache-diagnosis-2026-04-07",
  "claude-code-20250219",
  // Both may sample more than max_tokens says, or more than once; without them the request is an ordinary one.
  "context-management-2025-06-27",
  "interleaved-thinking-2025-05-14",
  "thinking-token-count-2026-05-13",
]);

export type Betas =
  | { status: "accepted"; passed: string[]; dropped: string[] }
  | { status: "refused"; error: AppError };

/** Sorts the `anthropic-beta` header: priced ones pass, optional ones are dropped, others are a 400. */
export function sortBetas(header: string | readonly string[] | undefined): Betas {
  const names = [header ?? []]
    .flat()
    .flatMap((text) => text.split(","))
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const unknown = names.find((name) => !PRICED.has(name) && !OPTIONAL.has(name));
  if (unknown !== undefined)
    return {
      status: "refused",
      error: invalidRequest(
        "anthropic-beta",
        `${JSON.stringify(unknown.slice(0, 80))} is not accepted: what it costs is not known`,
      ),
    };
  const unique = [...new Set(names)];
  return {
    status: "accepted",
    passed: unique.filter((name) => PRICED.has(name)),
    dropped: unique.filter((name) => OPTIONAL.has(name)),
  };
}
