import { type BilledTokens, costOf, priceIn } from "../gateway/request/prices.ts";
import type { ModelPrice } from "../gateway/request/model-price.ts";
import type { Tx } from "../platform/db.ts";

const PAGE = 5_000;

type MeteredHold = {
  workspace_id: string;
  id: string;
  model: string;
  price_version: string;
  amount: number;
  max_tokens: number;
  charged: number;
  input_tokens: number;
  cache_write_5m_tokens: number;
  cache_write_1h_tokens: number;
  cache_read_tokens: number;
  output_tokens: number;
};

/** Settled holds with stored usage in the order of their key. */
async function meteredHolds(
  tx: Tx,
  { scope, ...after }: { scope: string; workspaceId: string; id: string },
) {
  return tx.query<MeteredHold>({
    text: `${scope} SELECT workspace_id, id, model, price_version, amount, max_tokens, posted + overrun AS charged,
        coalesce((usage->>'input_tokens')::bigint, 0) AS input_tokens,
        coalesce((usage->>'cache_creation_5m_input_tokens')::bigint, 0) AS cache_write_5m_tokens,
        coalesce((usage->>'cache_creation_1h_input_tokens')::bigint, 0) AS cache_write_1h_tokens,
        coalesce((usage->>'cache_read_input_tokens')::bigint, 0) AS cache_read_tokens,
        coalesce((usage->>'output_tokens')::bigint, 0) AS output_tokens
      FROM holds WHERE state = 'SETTLED' AND usage IS NOT NULL AND usage->>'unknown' IS NULL AND (workspace_id, id) > ($1, $2)
      ORDER BY workspace_id, id LIMIT ${PAGE}`,
    values: [after.workspaceId, after.id],
  });
}

function tokensOf(hold: MeteredHold): BilledTokens {
  return {
    inputTokens: hold.input_tokens,
    cacheWrite5mTokens: hold.cache_write_5m_tokens,
    cacheWrite1hTokens: hold.cache_write_1h_tokens,
    cacheReadTokens: hold.cache_read_tokens,
    outputTokens: hold.output_tokens,
  };
}

type Found = { rule: string } & Record<string, unknown>;

/** What is wrong with a hold when its version of the price table is applied to its usage again. */
function faultsOf(hold: MeteredHold, price: ModelPrice): Found[] {
  const ids = { workspace_id: hold.workspace_id, hold_id: hold.id };
  const cost = costOf(price, tokensOf(hold));
  const longest = hold.max_tokens * price.rates.outputNanoUsd;
  return [
    ...(hold.charged === cost
      ? []
      : [
          {
            rule: "what was charged is what the price table makes of the reported usage",
            ...ids,
            charged_nano_usd: hold.charged,
            cost_nano_usd: cost,
          },
        ]),
    ...(hold.amount >= longest
      ? []
      : [
          {
            rule: "a hold covers the longest answer that it allows",
            ...ids,
            amount_nano_usd: hold.amount,
            longest_answer_nano_usd: longest,
          },
        ]),
  ];
}

/**
 * I5: what was posted, tenant and platform together, is recomputed from the reported usage and the price version of the
 * hold. Holds under a version that this release does not know cannot be. `scope`: a WITH that narrows what `holds` are.
 */
export async function checkProviderCost(
  tx: Tx,
  scope = "",
): Promise<{ checked: number; violations: Found[] }> {
  const violations: Found[] = [];
  let checked = 0;
  let after = { workspaceId: "", id: "" };
  for (;;) {
    const page = await meteredHolds(tx, { scope, ...after });
    for (const hold of page) {
      const price = priceIn(hold.price_version, hold.model);
      if (price === undefined) continue;
      checked++;
      violations.push(...faultsOf(hold, price));
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return { checked, violations };
    after = { workspaceId: last.workspace_id, id: last.id };
  }
}
