import { z } from "zod";

/** What the provider has recorded of one request. */
export type ReportedCall = {
  /** The provider's own name of the request. */
  requestId: string;
  /** False while the request is under way: its figures may still grow. */
  final: boolean;
  costNanoUsd: number;
  /** Token counts under the names in which holds store them. */
  usage: Readonly<Record<string, number>>;
};

export type UsageReport = {
  /** By hold: under its id each request was sent. */
  calls: ReadonlyMap<string, readonly ReportedCall[]>;
  /** From here on every request that arrived is in the report; undefined: what is missing says nothing. */
  completeSince: Date | undefined;
};

/** What a provider tells about requests whose answers did not come, or not to their end. */
export type ProviderUsageReport = {
  find(holdIds: readonly string[]): Promise<UsageReport>;
  /** A request is in the report at most so long after its sender has written it. */
  lagMs: number;
};

const simulatedReport = z.object({
  since: z.iso.datetime(),
  calls_dropped: z.int(),
  calls: z.array(
    z.object({
      request_id: z.string(),
      client_request_id: z.string().nullable(),
      finished_at: z.string().nullable(),
      input_tokens: z.int(),
      cache_creation_5m_input_tokens: z.int(),
      cache_creation_1h_input_tokens: z.int(),
      cache_read_input_tokens: z.int(),
      output_tokens: z.int(),
      cost_nano_usd: z.int(),
    }),
  ),
});

const LAG_MS = 2_000;
const TIMEOUT_MS = 10_000;

/**
 * The report of the simulated model provider. The real provider's usage and cost report is per key, model and hour, not
 * per request, so it cannot tell two calls of an hour apart: there is no implementation for it yet, and provisional
 * charges stay.
 */
export function createSimulatedUsageReport(baseUrl: string): ProviderUsageReport {
  return {
    lagMs: LAG_MS,
    async find(holdIds) {
      const response = await fetch(
        `${baseUrl}/sim/usage?client_request_ids=${holdIds.map(encodeURIComponent).join(",")}`,
        { signal: AbortSignal.timeout(TIMEOUT_MS) },
      );
      const report = simulatedReport.parse(await response.json());
      const calls = new Map<string, ReportedCall[]>();
      for (const row of report.calls) {
        if (row.client_request_id === null) continue;
        const call: ReportedCall = {
          requestId: row.request_id,
          final: row.finished_at !== null,
          costNanoUsd: row.cost_nano_usd,
          usage: {
            input_tokens: row.input_tokens,
            cache_creation_5m_input_tokens: row.cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens: row.cache_creation_1h_input_tokens,
            cache_read_input_tokens: row.cache_read_input_tokens,
            output_tokens: row.output_tokens,
          },
        };
        calls.set(row.client_request_id, [...(calls.get(row.client_request_id) ?? []), call]);
      }
      return {
        calls,
        completeSince: report.calls_dropped === 0 ? new Date(report.since) : undefined,
      };
    },
  };
}
