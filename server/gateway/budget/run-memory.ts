import { createHash, hash } from "node:crypto";
import { inputBound, messagesBound, type BoundOptions } from "../request/input-bound.ts";
import { createRecent } from "./recent.ts";
import type { CountBody, RequestMessage } from "../request/request-schema.ts";
import type { PricedRequest } from "../request/request.ts";

export type RunMemory = {
  /** No provider counts more input tokens for this request of this run or API key. */
  bound(spenderId: string, request: PricedRequest<CountBody>): number;
  /** A call ended cleanly: the provider said exactly how many input tokens it had. */
  noteCall(
    spenderId: string,
    call: { request: PricedRequest<CountBody>; inputTokens: number },
  ): void;
  /** These thinking blocks came from an answer of at most so many tokens. */
  noteThinking(marks: readonly string[], outputTokens: number): void;
};

type KnownPrompt = {
  headHash: string;
  messages: number;
  messagesHash: string;
  inputTokens: number;
};

const MAX_RUNS = 5_000;
/** A run, or a program with a key, has a few conversations at a time at most. */
const PROMPTS_PER_RUN = 4;
const MAX_MARKS = 50_000;
/** For what the provider puts between the known part and what was added. */
const SEAM_TOKENS = 64;

function digest(text: string): string {
  return hash("sha256", text, "base64");
}

/** Cache marks move along a conversation; the model does not see them. Only marks of blocks count, not data of that name. */
function unmarked(content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  return content.map((block: Record<string, unknown>) => {
    const { cache_control: _mark, ...rest } = block;
    return "content" in rest ? { ...rest, content: unmarked(rest["content"]) } : rest;
  });
}

/** All that stands before the messages or decides how they are counted: betas may change what a tool definition takes. */
function headHashOf({ body, version, betas, saltTokens }: PricedRequest<CountBody>): string {
  return digest(
    JSON.stringify([
      version,
      betas.toSorted(),
      body.model,
      unmarked(body.system),
      unmarked(body.tools),
      body.tool_choice,
      body.thinking,
      body.output_config,
      body.output_format,
      saltTokens,
    ]),
  );
}

/** The hash of the first `count` messages, for each count that is asked for and for all of them. */
function prefixHashes(
  messages: readonly RequestMessage[],
  counts: ReadonlySet<number>,
): Map<number, string> {
  const found = new Map<number, string>();
  const running = createHash("sha256");
  for (const [index, message] of messages.entries()) {
    const { role, content, ...rest } = message;
    const text = JSON.stringify([role, unmarked(content), rest]);
    running.update(`${text.length}:${text}`);
    if (index + 1 === messages.length) found.set(index + 1, running.digest("base64"));
    else if (counts.has(index + 1)) found.set(index + 1, running.copy().digest("base64"));
  }
  return found;
}

type PromptHashes = { head: string; messages: ReadonlyMap<number, string> };

/**
 * Remembers what the provider told about the calls of a run or an API key, so that a later call is held at little more than it
 * costs. A conversation that only grew keeps its exact count: same model, same head, same first messages, same
 * tokens; just what was added is bounded by bytes. In memory only: what is forgotten is bounded by bytes again.
 */
export function createRunMemory(): RunMemory {
  const runs = createRecent<KnownPrompt[]>(MAX_RUNS);
  const thinking = createRecent<number>(MAX_MARKS);
  /** Of calls that are under way: a long conversation is hashed before it is sent, and not again when its answer ends. */
  const hashesOf = new WeakMap<PricedRequest<CountBody>, PromptHashes>();

  function hashesFor(request: PricedRequest<CountBody>, counts: ReadonlySet<number>): PromptHashes {
    const { messages } = request.body;
    const made = { head: headHashOf(request), messages: prefixHashes(messages, counts) };
    hashesOf.set(request, made);
    return made;
  }

  function tightBound(
    spenderId: string,
    request: PricedRequest<CountBody>,
    options: BoundOptions,
  ): number | undefined {
    const { body } = request;
    const known = (runs.get(spenderId) ?? []).filter(
      (prompt) => prompt.messages <= body.messages.length,
    );
    if (known.length === 0) return undefined;
    const hashes = hashesFor(request, new Set(known.map((prompt) => prompt.messages)));
    const bounds = known
      .filter(
        (prompt) =>
          prompt.headHash === hashes.head &&
          hashes.messages.get(prompt.messages) === prompt.messagesHash,
      )
      .map(
        (prompt) =>
          prompt.inputTokens + messagesBound(body, prompt.messages, options) + SEAM_TOKENS,
      );
    return bounds.length === 0 ? undefined : Math.min(...bounds);
  }

  return {
    bound(spenderId, request) {
      const options: BoundOptions = {
        price: request.price,
        thinkingOrigin: (mark) => thinking.get(digest(mark)),
      };
      const bound =
        tightBound(spenderId, request, options) ??
        inputBound(request.body, options) + request.saltTokens;
      return Math.min(bound, request.price.contextWindowTokens);
    },
    noteCall(spenderId, { request, inputTokens }) {
      const count = request.body.messages.length;
      const hashes = hashesOf.get(request) ?? hashesFor(request, new Set());
      const prompt: KnownPrompt = {
        headHash: hashes.head,
        messages: count,
        messagesHash: hashes.messages.get(count) ?? "",
        inputTokens,
      };
      runs.set(spenderId, [prompt, ...(runs.get(spenderId) ?? [])].slice(0, PROMPTS_PER_RUN));
    },
    noteThinking(marks, outputTokens) {
      for (const mark of marks) thinking.set(digest(mark), outputTokens);
    },
  };
}
