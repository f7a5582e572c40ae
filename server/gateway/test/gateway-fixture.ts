import Anthropic from "@anthropic-ai/sdk";
import { expect, onTestFinished } from "vitest";
import type { FaultPlan } from "../../../simulator/delivery/faults.ts";
import { createSimulator, type SimulatorOptions } from "../../../simulator/simulator.ts";
import { createApiKeys } from "../../identity/api-keys.ts";
import { createLedger, type Ledger } from "../../ledger/ledger.ts";
import { verify } from "../../operator/verify.ts";
import { systemClock } from "../../platform/clock.ts";
import { newId } from "../../platform/ids.ts";
import { createLogger, type Logger } from "../../platform/log.ts";
import type { RequestLimits } from "../../platform/request-limits.ts";
import { Secret } from "../../platform/secret.ts";
import type { TestDatabase } from "../../test/database.ts";
import {
  createClaimedRun,
  createTenant,
  type ClaimedRun,
  type TaskOptions,
} from "../../test/tenant.ts";
import { createFrozenModels } from "../budget/frozen-models.ts";
import type { FindPrice } from "../request/prices.ts";
import { keyCheckOf } from "../key-check.ts";
import type { KeyCheck } from "../spender.ts";
import { createGateway, type GatewayDeps, type GatewayLimits } from "../gateway.ts";

export const MODEL = "claude-sonnet-5-5";
export const PROVIDER_KEY = "sk-provider-0123456789-never-shown";
const JOURNAL_KEY = "a journal key of a test, long enough";

export type GatewayOptions = {
  upstreamUrl: string;
  limits?: Partial<GatewayLimits>;
  ledger?: (ledger: Ledger) => Ledger;
  log?: Logger;
  checkKey?: KeyCheck;
  requestLimits?: RequestLimits;
  cacheSaltKey?: string;
  exactHolds?: boolean;
  findPrice?: FindPrice;
  /** Shares stopped models with the other gateways of the database; else each keeps its own. */
  sharedFreeze?: boolean;
  recordRefusal?: NonNullable<GatewayDeps["recordRefusal"]>;
};

/** A gateway in front of an upstream, closed after the test. */
export async function startGateway({ db }: Pick<TestDatabase, "db">, options: GatewayOptions) {
  const processId = newId("wrk");
  const ledger = createLedger({ db, processId });
  const apiKeys = createApiKeys({ db, clock: systemClock });
  const deps: GatewayDeps = {
    checkKey: options.checkKey ?? keyCheckOf(apiKeys),
    ledger: options.ledger?.(ledger) ?? ledger,
    upstream: { baseUrl: options.upstreamUrl, apiKey: new Secret(PROVIDER_KEY) },
    journalKey: JOURNAL_KEY,
    ...(options.cacheSaltKey === undefined ? {} : { cacheSaltKey: options.cacheSaltKey }),
    exactHolds: options.exactHolds ?? false,
    ...(options.sharedFreeze === true ? { frozenModels: createFrozenModels(db) } : {}),
    ...(options.findPrice === undefined ? {} : { findPrice: options.findPrice }),
    log: options.log ?? createLogger({ level: "silent" }),
    processId,
    ...(options.requestLimits ? { requestLimits: options.requestLimits } : {}),
    ...(options.recordRefusal ? { recordRefusal: options.recordRefusal } : {}),
    limits: {
      callTimeoutMs: 20_000,
      idleTimeoutMs: 10_000,
      budgetWaitMs: 300,
      ...options.limits,
    },
  };
  const gateway = createGateway(deps);
  const { url } = await gateway.listen({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => gateway.close({ drainMs: 5_000 }));
  return { gateway, url, ledger, apiKeys };
}

/** The simulated provider without latency, which lets in the gateway's key only. */
export async function startProvider(options: SimulatorOptions & { faults?: FaultPlan } = {}) {
  const simulator = createSimulator({
    latency: { firstByteMs: 0, perEventMs: 0 },
    apiKey: PROVIDER_KEY,
    ...options,
  });
  const { url } = await simulator.listen();
  onTestFinished(() => simulator.close());
  return { simulator, url };
}

/** Simulated provider and gateway. */
export async function startBoth(
  database: Pick<TestDatabase, "db">,
  options: Omit<GatewayOptions, "upstreamUrl"> & { provider?: SimulatorOptions } = {},
) {
  const provider = await startProvider(options.provider);
  const gateway = await startGateway(database, { ...options, upstreamUrl: provider.url });
  return { ...gateway, simulator: provider.simulator, providerUrl: provider.url };
}

/** A claimed run in a workspace of its own. Budgets are nano-USD. */
export async function startRun(
  { admin }: Pick<TestDatabase, "admin">,
  options: TaskOptions & { workspaceBudget?: number } = {},
): Promise<ClaimedRun> {
  const { workspaceBudget, ...task } = options;
  const tenant = await createTenant(
    admin,
    workspaceBudget === undefined ? {} : { costLimitNanoUsd: workspaceBudget },
  );
  return createClaimedRun(admin, tenant, { costLimitNanoUsd: 50_000_000_000, ...task });
}

export function clientOf(url: string, run: { token: string }): Anthropic {
  return new Anthropic({ baseURL: url, apiKey: run.token, maxRetries: 0, logLevel: "off" });
}

/** A small request that the simulated model answers with a few words. */
export const SMALL = {
  model: MODEL,
  max_tokens: 2_000,
  messages: [{ role: "user" as const, content: "Say something." }],
};

/** Sends a request as it is, without a client's own ideas. */
export function post(
  url: string,
  input: {
    token: string;
    body: unknown;
    path?: string;
    headers?: Record<string, string>;
    signal?: AbortSignal;
  },
): Promise<Response> {
  return fetch(`${url}${input.path ?? "/v1/messages"}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": input.token, ...input.headers },
    body: typeof input.body === "string" ? input.body : JSON.stringify(input.body),
    ...(input.signal ? { signal: input.signal } : {}),
  });
}

export type HoldRow = {
  id: string;
  state: string;
  amount: number;
  posted: number | null;
  overrun: number;
  max_tokens: number;
  call_no: number;
  attempt_no: number;
  usage: Record<string, unknown> | null;
};

/** The holds of a workspace, oldest first. */
export async function holdsOf(
  { admin }: Pick<TestDatabase, "admin">,
  { workspaceId }: { workspaceId: string },
): Promise<HoldRow[]> {
  const { rows } = await admin.query<Record<string, unknown>>(
    `SELECT id, state, amount, posted, overrun, max_tokens, call_no, attempt_no, usage FROM holds
     WHERE workspace_id = $1 ORDER BY held_at, id`,
    [workspaceId],
  );
  return rows.map((row) => ({
    ...(row as unknown as HoldRow),
    amount: Number(row["amount"]),
    posted: row["posted"] === null ? null : Number(row["posted"]),
    overrun: Number(row["overrun"]),
  }));
}

/** What the workspace has posted and holds, nano-USD. */
export async function balanceOf(
  { admin }: Pick<TestDatabase, "admin">,
  { workspaceId }: { workspaceId: string },
): Promise<{ posted: number; held: number }> {
  const { rows } = await admin.query<{ posted: string; held: string }>(
    `SELECT posted, held FROM budgets WHERE workspace_id = $1 AND meter = 'model_cost' AND level = 'workspace'`,
    [workspaceId],
  );
  return { posted: Number(rows[0]?.posted ?? 0), held: Number(rows[0]?.held ?? 0) };
}

/** Checks the laws in the whole database of the test file; call after each test, when its gateways have closed. */
export async function expectLaws({ db }: Pick<TestDatabase, "db">): Promise<void> {
  const broken = (await verify(db)).filter(({ ok }) => !ok);
  expect(broken).toEqual([]);
}

/** Waits until every hold of the workspace has ended. */
export async function quiet(
  database: Pick<TestDatabase, "admin">,
  run: { workspaceId: string },
): Promise<HoldRow[]> {
  for (;;) {
    const holds = await holdsOf(database, run);
    if (holds.every(({ state }) => state !== "HELD" && state !== "DISPATCHED")) return holds;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
