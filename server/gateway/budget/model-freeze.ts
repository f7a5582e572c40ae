import type { AppError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import { gatewayError } from "../errors.ts";
import type { CountBody } from "../request/request-schema.ts";
import type { PricedRequest } from "../request/request.ts";

export type ModelFreeze = {
  /** The refusal for a request whose model and features were charged above a hold before. */
  check(request: PricedRequest<CountBody>): AppError | undefined;
  freeze(request: PricedRequest<CountBody>): void;
};

function usesBlock(body: CountBody, type: string): boolean {
  return body.messages.some(
    ({ content }) =>
      content !== undefined &&
      typeof content !== "string" &&
      content.some((block) => block.type === type),
  );
}

/** What a request uses beyond plain text, as far as it changes what a call can cost. */
function combinationOf({ body, largestTtl }: PricedRequest<CountBody>): string {
  const features = [
    body.thinking !== undefined && body.thinking.type !== "disabled" ? "thinking" : "",
    (body.tools ?? []).length > 0 ? "tools" : "",
    usesBlock(body, "image") ? "images" : "",
    usesBlock(body, "document") ? "documents" : "",
    largestTtl === undefined ? "" : `cache_${largestTtl}`,
  ];
  return [body.model, ...features.filter((feature) => feature !== "")].join(" + ");
}

/**
 * A charge above its hold means that the price table or a bound is wrong. The platform bears that once; further calls
 * of the same model with the same features are refused until the gateway is started again with a corrected table.
 */
export function createModelFreeze(deps: { log: Logger }): ModelFreeze {
  const frozen = new Set<string>();

  return {
    check(request) {
      const combination = combinationOf(request);
      return frozen.has(combination)
        ? gatewayError({
            status: 503,
            code: "model_frozen",
            message: `Calls with ${combination} are stopped: one of them cost more than its bound. The operator has been told.`,
            final: true,
          })
        : undefined;
    },
    freeze(request) {
      const combination = combinationOf(request);
      if (frozen.has(combination)) return;
      frozen.add(combination);
      deps.log.error(
        { combination },
        "a call cost more than it can by the price table: such calls are refused until the gateway is restarted",
      );
    },
  };
}
