import type { Spender } from "../../ledger/calls.ts";
import type { TokenCounter } from "../count-tokens.ts";
import type { MessagesRequest } from "../request/request.ts";

/** The provider calls its count an estimate: so much is added to it, and what is still missing is an overrun. */
const MARGIN_DIVISOR = 50;
const MARGIN_TOKENS = 64;

/** Asks what to hold for the input of a call; undefined: what its bytes allow. */
export type ExactTokens = (call: {
  spender: Spender;
  request: MessagesRequest;
  gone: AbortSignal;
}) => Promise<number | undefined>;

/** Exact mode: holds by the provider's count instead of by bytes. Without an answer the bytes decide, as always. */
export function createExactTokens(counter: TokenCounter): ExactTokens {
  return async (call) => {
    const counted = await counter(call);
    if (counted.status === "failed") return undefined;
    const { inputTokens } = counted;
    return inputTokens + Math.ceil(inputTokens / MARGIN_DIVISOR) + MARGIN_TOKENS;
  };
}
