import type { HoldState, Refusal } from "./kernel-state.ts";

// What the ledger is asked and answers. The adapter, its SQL and the kernel share these.

/** The attempt that holds a run's lease, by its token. */
export type RunSpender = {
  kind: "run";
  workspaceId: string;
  runId: string;
  epoch: number;
  /** SHA-256 of the run token's secret. */
  tokenHash: string;
};

/** A program outside, by its workspace API key. That the key may spend is checked by who takes it in. */
export type KeySpender = {
  kind: "api_key";
  workspaceId: string;
  apiKeyId: string;
  /** SHA-256 of the key's secret. */
  secretHash: string;
};

/** Whose calls are paid for. */
export type Spender = RunSpender | KeySpender;

/** The worst case of one upstream attempt. Amounts are nano-USD, prices nano-USD per token. */
export type ReserveRequest = {
  spender: Spender;
  /** Made by the caller, a new one for each request. */
  holdId: string;
  /** Of an earlier attempt of the same call; a new call of a run gets the next number, those of keys have none. */
  callNo?: number;
  /** 1 for the first upstream attempt of a call. */
  attemptNo: number;
  model: string;
  priceVersion: string;
  inputNanoUsd: number;
  outputNanoUsdPerToken: number;
  maxTokens: number;
  /** The fewest output tokens that make the call worth while: below it is refused instead of clamped. */
  minTokens: number;
  /** True when the first byte may leave as soon as the hold is durable. */
  dispatch: boolean;
};

export type ReserveOutcome =
  | {
      status: "held";
      /** Null for an API key. */
      callNo: number | null;
      amountNanoUsd: number;
      /** What the call may answer at most: the wish, or less when the budget is nearly used. */
      maxTokens: number;
    }
  /** The run is not leased to this epoch and token, or the key was revoked or has ended. */
  | { status: "stale" }
  /** The workspace may not spend at present; reason: `margin_guard`, `operator`, … */
  | { status: "suspended"; reason: string }
  | { status: "call_limit"; limit: number }
  | Refusal;

export type Settlement = {
  workspaceId: string;
  holdId: string;
  outcome: "settled" | "provisional" | "void";
  /** For `settled`: what the provider charges, nano-USD. Beyond the hold it goes to the platform's overrun account. */
  actualNanoUsd?: number;
  /** Token counts in the protocol's names; stored with the hold. */
  usage?: Readonly<Record<string, unknown>>;
  /** The answer, for a later attempt of the run that repeats the call. `body` is encrypted by the caller. */
  journal?: { requestHash: string; body: Buffer };
};

export type SettleOutcome =
  | { status: "done"; postedNanoUsd: number; overrunNanoUsd: number }
  /** The hold is not in a state from which this outcome is possible; null: there is no such hold. */
  | { status: "unchanged"; state: HoldState | null };

/** What the provider says it charges for an upstream attempt whose end nobody saw. */
export type Reconciliation = {
  workspaceId: string;
  holdId: string;
  /** nano-USD. Beyond the hold it goes to the platform's overrun account. */
  chargedNanoUsd: number;
  /**
   * `request`: the figure is of this very request, which cannot be charged a second time. `report`: it is what a report
   * leaves for the attempt, complete for all requests that began before `finalBeforeMs` (since 1970, UTC); that counts
   * only when the process that may have sent the request had ended by then.
   */
  proof: { kind: "request" } | { kind: "report"; finalBeforeMs: number };
};

export type ReconcileOutcome =
  | SettleOutcome
  /** The owner of the hold may still send it, or has sent it after the end of the report. Nothing changed. */
  | { status: "not_final" };

export type AgentTimeRequest = RunFence & {
  /** Counts the epoch's bookings from 1. A booking whose answer was lost is asked for again under its number. */
  bookingNo: number;
  sliceMs: number;
};

export type AgentTimeOutcome =
  /** May be less than asked for, when a limit is near. */
  | { status: "granted"; ms: number }
  | { status: "stale" }
  /** The whole workspace is stopped; `reason` as in `GET /v1/me`. */
  | { status: "suspended"; reason: string }
  | (Omit<Refusal, "status"> & { status: "exhausted" });

export type RunFence = { workspaceId: string; runId: string; epoch: number };
