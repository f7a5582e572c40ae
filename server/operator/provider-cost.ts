import { type BilledTokens, costOf, priceIn } from "../gateway/request/prices.ts";
import type { Tx } from "../platform/db.ts";

const PAGE = 5_000;

type MeteredHold = {
  workspace_id: string;
  id: string;
  model: string;
  price_version: string;
  charged: number;
  input_tokens: number;
  cache_write_5m_tokens: number;
  cache_write_1h_tokens: number;
  cache_read_tokens: number;
  output_tokens: number;
};

/** Settled holds with stored usage, in the order of their key. */
async function meteredHolds(tx: Tx, after: { workspaceId: string; id: string }) {
  return tx.query<MeteredHold>({
    text: `SELECT workspace_id, id, model, price_version, posted + overrun AS charged,
        coalesce((usage->>'input_tokens')::bigint, 0) AS input_tokens,
        coalesce((usage->>'cache_creation_5m_input_tokens')::bigint, 0) AS cache_write_5m_tokens,
        coalesce((usage->>'cache_creation_1h_input_tokens')::bigint, 0) AS cache_write_1h_tokens,
        coalesce((usage->>'cache_read_input_tokens')::bigint, 0) AS cache_read_tokens,
        coalesce((usage->>'output_tokens')::bigint, 0) AS output_tokens
      FROM holds WHERE state = 'SETTLED' AND usage IS NOT NULL AND (workspace_id, id) > ($1, $2)
      ORDER BY workspace_id, id LIMIT ${PAGE}`,
    values: [after.workspaceId, after.id],
  });
}

function providerCost(hold: MeteredHold): number | undefined {
  const price = priceIn(hold.price_version, hold.model);
  if (!price) return undefined;
  const tokens: BilledTokens = {
    inputTokens: hold.input_tokens,
    cacheWrite5mTokens: hold.cache_write_5m_tokens,
    cacheWrite1hTokens: hold.cache_write_1h_tokens,
    cacheReadTokens: hold.cache_read_tokens,
    outputTokens: hold.output_tokens,
  };
  return costOf(price, tokens);
}

/** I5: tenant and platform together pay at least what the provider charges for the usage that it reported. */
export async function checkProviderCost(
  tx: Tx,
): Promise<{ checked: number; violations: Record<string, unknown>[] }> {
  const violations: Record<string, unknown>[] = [];
  let checked = 0;
  let after = { workspaceId: "", id: "" };
  for (;;) {
    const page = await meteredHolds(tx, after);
    for (const hold of page) {
      const costNanoUsd = providerCost(hold);
      if (costNanoUsd === undefined) continue;
      checked++;
      if (hold.charged < costNanoUsd)
        violations.push({
          workspace_id: hold.workspace_id,
          hold_id: hold.id,
          charged_nano_usd: hold.charged,
          cost_nano_usd: costNanoUsd,
        });
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return { checked, violations };
    after = { workspaceId: last.workspace_id, id: last.id };
  }
}
