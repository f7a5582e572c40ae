import type { AppError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import { gatewayError } from "../errors.ts";
import type { FrozenModel, FrozenModels } from "./frozen-models.ts";
import type { CountBody } from "../request/request-schema.ts";
import type { PricedRequest } from "../request/request.ts";

export type ModelFreeze = {
  /** The refusal for a request whose model and features were charged above a hold before. */
  check(request: PricedRequest<CountBody>): AppError | undefined;
  freeze(
    request: PricedRequest<CountBody>,
    charge: { holdId: string; overrunNanoUsd: number },
  ): void;
  /** Learns what other gateways stopped, and what was lifted. Never throws; also runs every few seconds. */
  refresh(): Promise<void>;
  stop(): Promise<void>;
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

/** Gateways hear from each other through the database: of a stop, and of its end. */
const REFRESH_MS = 5_000;

/**
 * A charge above its bound means that the price table or the bound is wrong. The platform bears that once; further
 * calls of the same model with the same features are refused, at every gateway, until an operator lifts it.
 */
export function createModelFreeze(deps: { store: FrozenModels; log: Logger }): ModelFreeze {
  const { store, log } = deps;
  let frozen = new Set<string>();
  /** Stopped here, and not in the database yet. */
  const unstored = new Map<string, Omit<FrozenModel, "frozenAt">>();

  async function refresh(): Promise<void> {
    for (const [combination, model] of unstored) {
      await store.freeze(model);
      unstored.delete(combination);
    }
    const stored = await store.list();
    frozen = new Set([...stored.map(({ combination }) => combination), ...unstored.keys()]);
  }

  let last: Promise<void> = Promise.resolve();
  function refreshSafely(): Promise<void> {
    last = last.then(refresh).catch((error: unknown) => {
      log.warn(
        { err: error },
        "the list of stopped models could not be read or written; trying again",
      );
    });
    return last;
  }
  const timer = setInterval(() => void refreshSafely(), REFRESH_MS);
  timer.unref();

  return {
    check(request) {
      // Nothing is stopped on nearly all days, and to name what a request uses means to look at all of it.
      if (frozen.size === 0) return undefined;
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
    freeze(request, charge) {
      const combination = combinationOf(request);
      if (frozen.has(combination)) return;
      frozen.add(combination);
      unstored.set(combination, { combination, ...charge });
      log.error(
        { combination, hold_id: charge.holdId },
        `a call cost more than it can by the price table: such calls are refused until the table is right and an operator runs: guildhall models lift "${combination}"`,
      );
      void refreshSafely();
    },
    refresh: refreshSafely,
    async stop() {
      clearInterval(timer);
      await refreshSafely();
    },
  };
}
