import type { InputSplit } from "./prompt-cache.ts";
import type { SimulatedModel } from "./prices.ts";
import { costOf } from "./prices.ts";

/** Rows kept; totals go on counting beyond it, and the report says how many rows were let go. */
const MAX_ROWS = 100_000;

/** What is known when a call arrives. */
export type CallIdentity = {
  requestId: string;
  apiKeyHash: string;
  userId: string | null;
  model: string;
  tag: string | null;
  /** What the caller calls this request, from its header `x-client-request-id`. */
  clientRequestId: string | null;
};

/** One row of `GET /sim/usage`, in the JSON's own names. Times are ISO 8601, tokens and cost integers. */
type CallRow = {
  request_id: string;
  client_request_id: string | null;
  api_key_hash: string;
  metadata_user_id: string | null;
  model: string;
  tag: string | null;
  status: number;
  error_type: string | null;
  fault: string | null;
  started_at: string;
  finished_at: string | null;
  input_tokens: number;
  cache_creation_input_tokens: number;
  cache_creation_5m_input_tokens: number;
  cache_creation_1h_input_tokens: number;
  cache_read_input_tokens: number;
  output_tokens: number;
  cost_nano_usd: number;
  stop_reason: string | null;
  client_closed_early: boolean;
};

type UsageTotals = {
  calls: number;
  billed_calls: number;
  input_tokens: number;
  cache_creation_input_tokens: number;
  cache_read_input_tokens: number;
  output_tokens: number;
  cost_nano_usd: number;
};

export type UsageReport = {
  simulated: true;
  /** Calls that came before are not in this report, ISO 8601. */
  since: string;
  totals: UsageTotals;
  calls: readonly CallRow[];
  calls_dropped: number;
};

export type CallMeter = {
  /** The prompt was accepted: its input is billed from here on, whatever happens to the answer. */
  admitted(split: InputSplit): void;
  /** Output generated so far, cumulative; never lowered. */
  generated(outputTokens: number): void;
  finished(end: { stopReason: string | null; clientClosedEarly: boolean }): void;
  refused(failure: { status: number; errorType: string }): void;
  faulted(kind: string): void;
};

export type ReportFilter = {
  tag?: string | undefined;
  model?: string | undefined;
  clientRequestIds?: readonly string[] | undefined;
};

export type Meter = {
  open(call: { identity: CallIdentity; model: SimulatedModel | undefined }): CallMeter;
  /** Everything metered so far; with a filter, the rows that match and their totals. */
  report(filter?: ReportFilter): UsageReport;
  reset(): void;
};

const NO_INPUT: InputSplit = {
  inputTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  cacheReadTokens: 0,
};

function emptyTotals(): UsageTotals {
  return {
    calls: 0,
    billed_calls: 0,
    input_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: 0,
    cost_nano_usd: 0,
  };
}

function addRow(totals: UsageTotals, row: CallRow): void {
  totals.calls += 1;
  totals.billed_calls += row.cost_nano_usd > 0 ? 1 : 0;
  totals.input_tokens += row.input_tokens;
  totals.cache_creation_input_tokens += row.cache_creation_input_tokens;
  totals.cache_read_input_tokens += row.cache_read_input_tokens;
  totals.output_tokens += row.output_tokens;
  totals.cost_nano_usd += row.cost_nano_usd;
}

function newRow(identity: CallIdentity, startedAt: string): CallRow {
  return {
    request_id: identity.requestId,
    client_request_id: identity.clientRequestId,
    api_key_hash: identity.apiKeyHash,
    metadata_user_id: identity.userId,
    model: identity.model,
    tag: identity.tag,
    status: 200,
    error_type: null,
    fault: null,
    started_at: startedAt,
    finished_at: null,
    input_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_creation_5m_input_tokens: 0,
    cache_creation_1h_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: 0,
    cost_nano_usd: 0,
    stop_reason: null,
    client_closed_early: false,
  };
}

/**
 * Builds the simulator's own meter. It counts what was generated, not what the wire said, so injected
 * faults never bend it. `clock` gives milliseconds.
 */
export function createMeter(deps: { clock: () => number }): Meter {
  let rows: CallRow[] = [];
  let dropped = emptyTotals();
  const now = (): string => new Date(deps.clock()).toISOString();
  let since = now();

  function open(call: { identity: CallIdentity; model: SimulatedModel | undefined }): CallMeter {
    const row = newRow(call.identity, now());
    let split = NO_INPUT;
    rows.push(row);
    const price = (): void => {
      if (call.model !== undefined)
        row.cost_nano_usd = costOf(call.model, { ...split, outputTokens: row.output_tokens });
    };
    return {
      admitted(input) {
        split = input;
        row.input_tokens = input.inputTokens;
        row.cache_creation_5m_input_tokens = input.cacheWrite5mTokens;
        row.cache_creation_1h_input_tokens = input.cacheWrite1hTokens;
        row.cache_creation_input_tokens = input.cacheWrite5mTokens + input.cacheWrite1hTokens;
        row.cache_read_input_tokens = input.cacheReadTokens;
        price();
      },
      generated(outputTokens) {
        row.output_tokens = Math.max(row.output_tokens, outputTokens);
        price();
      },
      finished(end) {
        row.finished_at = now();
        row.stop_reason = end.stopReason;
        row.client_closed_early = end.clientClosedEarly;
        trim();
      },
      refused(failure) {
        row.finished_at = now();
        row.status = failure.status;
        row.error_type = failure.errorType;
        trim();
      },
      faulted(kind) {
        row.fault = kind;
      },
    };
  }

  function trim(): void {
    while (rows.length > MAX_ROWS && rows[0]?.finished_at !== null) {
      const oldest = rows.shift();
      if (oldest !== undefined) addRow(dropped, oldest);
    }
  }

  function report(filter: ReportFilter = {}): UsageReport {
    const filtered = Object.values(filter).some((value) => value !== undefined);
    const ids = filter.clientRequestIds && new Set<string | null>(filter.clientRequestIds);
    const calls = rows.filter(
      (row) =>
        (filter.tag === undefined || row.tag === filter.tag) &&
        (filter.model === undefined || row.model === filter.model) &&
        (ids === undefined || ids.has(row.client_request_id)),
    );
    const totals = filtered ? emptyTotals() : { ...dropped };
    for (const row of calls) addRow(totals, row);
    return {
      simulated: true,
      since,
      totals,
      calls: calls.map((row) => ({ ...row })),
      calls_dropped: dropped.calls,
    };
  }

  function reset(): void {
    rows = [];
    since = now();
    dropped = emptyTotals();
  }

  return { open, report, reset };
}
