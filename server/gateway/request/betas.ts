import type { AppError } from "../../platform/errors.ts";
import { invalidRequest } from "../errors.ts";

/** `priced`: passes. `optional`: taken out and named. Else why it is refused. */
type BetaClass = "priced" | "optional" | { refused: string };

const OTHER_ENDPOINT = "it belongs to an endpoint that does not exist here";
const FURTHER_INPUT = "what the provider does on its own would be billed as further input";

function all(names: readonly string[], one: BetaClass): Record<string, BetaClass> {
  return Object.fromEntries(names.map((name) => [name, one]));
}

/** Every beta feature that the official clients know; a test holds this list against theirs. */
export const BETAS: Readonly<Record<string, BetaClass>> = {
  // These change no price, or none beyond what the hold covers: the bound counts what they add, max_tokens ends it.
  ...all(
    [
      // Its parts that cost more are refused as tools: search at the provider, calls by code at the provider.
      "advanced-tool-use-2025-11-20",
      "effort-2025-11-24",
      "extended-cache-ttl-2025-04-11",
      "fine-grained-tool-streaming-2025-05-14",
      "mid-conversation-output-config-2026-07-01",
      "mid-conversation-system-2026-04-07",
      "mid-conversation-system-clear-at-2026-08-21",
      "mid-conversation-tool-changes-2026-07-01",
      "model-context-window-exceeded-2025-08-26",
      "pdfs-2024-09-25",
      "per-turn-control-2026-07-01",
      "prompt-caching-2024-07-31",
      "structured-outputs-2025-11-13",
      "structured-outputs-2025-12-15",
      "task-budgets-2026-03-13",
      "thinking-binding-controls-2026-08-01",
      "thinking-display-updates-2026-08-18",
      "token-counting-2024-11-01",
      "token-efficient-tools-2025-02-19",
    ],
    "priced",
  ),
  // Official clients send these by themselves, and an answer does not need them. What they allow is refused or dropped
  // where a request really asks for it.
  ...all(
    [
      "cache-diagnosis-2026-04-07",
      "claude-code-20250219",
      // Prompts beyond the window of the table have no price here; models with a large window need no header.
      "context-1m-2025-08-07",
      // These two may sample more than max_tokens says, or more than once; without them the request is an ordinary one.
      "context-management-2025-06-27",
      "interleaved-thinking-2025-05-14",
      "fallback-credit-2026-06-01",
      "fallback-credit-2026-07-01",
      "message-threads-2026-08-12",
      // Would share cache entries beyond the workspace.
      "prompt-caching-scope-2026-01-05",
      "thinking-token-count-2026-05-13",
    ],
    "optional",
  ),
  ...all(["compact-2026-01-12", "compact-2026-09-04"], {
    refused: "a summary is sampled beside the answer, with all of the conversation as its input",
  }),
  ...all(["server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01"], {
    refused: "a fallback model would be billed beside the one that was asked for",
  }),
  ...all(["output-128k-2025-02-19", "output-300k-2026-03-24"], {
    refused: "answers longer than the price table allows have no bound",
  }),
  ...all(["computer-use-2024-10-22", "computer-use-2025-01-24", "computer-use-2025-11-24"], {
    refused: "what its hidden instructions and screenshots take is not in the price table",
  }),
  ...all(
    [
      "agent-memory-2026-07-22",
      "ce-plugins-2026-09-01",
      "code-execution-2025-05-22",
      "inline-tools-2026-09-15",
      "mcp-client-2025-04-04",
      "mcp-client-2025-11-20",
      "mcp-client-2026-09-15",
      "mcp-tunnels-2026-06-22",
      "skills-2025-10-02",
    ],
    { refused: FURTHER_INPUT },
  ),
  "advisor-tool-2026-03-01": { refused: "another, dearer model would answer too" },
  "dev-full-thinking-2025-05-14": { refused: "what it costs is not known" },
  "fast-mode-2026-02-01": { refused: "fast mode costs more than the hold covers" },
  "files-api-2025-04-14": {
    refused: "files lie in the account of the installation, not of a workspace",
  },
  ...all(
    [
      "admin-user-sign-out-2026-10-08",
      "analytics-usage-cost-2026-08-24",
      "ce-claude-code-managed-settings-2026-10-06",
      "ce-user-management-2026-07-13",
      "dreaming-2026-04-21",
      "experimental-claude-tag-2026-10-21",
      "managed-agents-2026-04-01",
      "message-batches-2024-09-24",
      "spend-limit-reads-2026-09-26",
      "telemetry-destinations-2026-08-11",
      "user-profiles-2026-03-24",
      "user-profiles-2026-08-18",
      "user-profiles-2026-09-04",
      "user-profiles-billing-2026-10-01",
      "webhooks-2026-10-07",
    ],
    { refused: OTHER_ENDPOINT },
  ),
};

const CLASS_OF: ReadonlyMap<string, BetaClass> = new Map(Object.entries(BETAS));

export type Betas =
  | { status: "accepted"; passed: string[]; dropped: string[] }
  | { status: "refused"; error: AppError };

function refusal(name: string, found: BetaClass | undefined): AppError {
  const why = typeof found === "object" ? found.refused : "what it costs is not known";
  return invalidRequest(
    "anthropic-beta",
    `${JSON.stringify(name.slice(0, 80))} is not accepted: ${why}`,
  );
}

/** Sorts the `anthropic-beta` header: priced ones pass, optional ones are dropped, others are a 400. */
export function sortBetas(header: string | readonly string[] | undefined): Betas {
  const passed = new Set<string>();
  const dropped = new Set<string>();
  if (header === undefined) return { status: "accepted", passed: [], dropped: [] };
  for (const part of [header].flat().join(",").split(",")) {
    const name = part.trim();
    if (name === "") continue;
    const found = CLASS_OF.get(name);
    if (found === "priced") passed.add(name);
    else if (found === "optional") dropped.add(name);
    else return { status: "refused", error: refusal(name, found) };
  }
  return { status: "accepted", passed: [...passed], dropped: [...dropped] };
}
