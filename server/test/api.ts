import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { type Problem, problemSchema } from "@guildhall/sdk/contract/problem.ts";
import { type Scope, scopes } from "@guildhall/sdk/contract/workspace.ts";
import { type ApiOptions, createApi } from "../api.ts";
import { createIdentity, type Identity } from "../identity/identity.ts";
import { createRequestLeases, type RequestLeases } from "../ledger/request-leases.ts";
import { systemClock } from "../platform/clock.ts";
import type { FileStore } from "../platform/file-store/file-store.ts";
import { createLocalFileStore } from "../platform/file-store/open-file-store.ts";
import { newId } from "../platform/ids.ts";
import { createLogger } from "../platform/log.ts";
import { createRequestLimits } from "../platform/request-limits.ts";
import { Secret } from "../platform/secret.ts";
import { createEventBell, type EventBell } from "../tasks/event-bell.ts";
import { createTestDatabase, type TestDatabase } from "./database.ts";
import { createTenant, type Tenant, type TenantOptions } from "./tenant.ts";

/** A workspace with a credential for everything that its owner may do. */
export type Caller = Tenant & { key: string };

export type TestApi = TestDatabase & {
  base: string;
  identity: Identity;
  files: FileStore;
  /** Where the contents lie. */
  filesFolder: string;
  eventBell: EventBell;
  requestLeases: RequestLeases;
  /** What was rung, in order: `ready`, or the id of the task that ended. */
  rung: string[];
  /** A workspace of its own with an owner's API key. */
  caller(options?: TenantOptions): Promise<Caller>;
  /** A further key of the workspace, with these scopes only. */
  keyWith(caller: Tenant, granted: readonly Scope[]): Promise<string>;
  send(method: string, path: string, request?: TestRequest): Promise<Response>;
};

export type TestRequest = {
  key?: string | undefined;
  json?: unknown;
  body?: RequestInit["body"];
  headers?: Record<string, string>;
  signal?: AbortSignal;
};

export const testRootSecret = new Secret("a root secret of the tests, at least 32 characters");

/** The whole API on a port of its own, over a database of the test file's own. Call at top level. */
export async function startTestApi(
  options: Partial<Pick<ApiOptions, "clock" | "web" | "requestLimits" | "metrics">> & {
    config?: Partial<ApiOptions["config"]>;
    /** What a workspace may store; without it there is no quota. */
    quotaBytes?: number;
  } = {},
): Promise<TestApi> {
  const database = await createTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), "guildhall-api-"));
  const { db, admin } = database;
  const clock = options.clock ?? systemClock;
  const identity = createIdentity({ db, clock, rootSecret: testRootSecret });
  const filesFolder = join(folder, "files");
  const log = createLogger({ level: process.env["TEST_LOG_LEVEL"] ?? "silent" });
  const files = createLocalFileStore({ db, log, filesFolder, quotaBytes: options.quotaBytes });
  const eventBell = createEventBell();
  const requestLeases = createRequestLeases({ db, clock, nodeId: newId("wrk") });
  const rung: string[] = [];
  const api = await createApi({
    db,
    clock,
    files,
    identity,
    requestLeases,
    eventBell,
    requestLimits: options.requestLimits ?? createRequestLimits({}),
    log,
    config: {
      PUBLIC_URL: undefined,
      MAX_UPLOAD_BYTES: 1_000,
      MAX_UPLOAD_FILES: 5,
      ...options.config,
    },
    bell: { runReady: () => void rung.push("ready"), taskEnded: (id) => void rung.push(id) },
    model: { simulated: true, baseUrl: "http://model.test" },
    gateway: { baseUrl: "http://gateway.test" },
    ...(options.web ? { web: options.web } : {}),
    ...(options.metrics ? { metrics: options.metrics } : {}),
  });
  const base = await api.listen({ port: 0, host: "127.0.0.1" });
  afterAll(async () => {
    await api.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function keyWith(tenant: Tenant, granted: readonly Scope[]): Promise<string> {
    const key = await identity.apiKeys.create({
      workspaceId: tenant.workspaceId,
      createdBy: tenant.userId,
      actor: `user:${tenant.userId}`,
      origin: "test",
      name: "test key",
      scopes: granted,
    });
    return key.key;
  }

  return {
    ...database,
    base,
    identity,
    files,
    filesFolder,
    eventBell,
    requestLeases,
    rung,
    keyWith,
    async caller(tenantOptions) {
      const tenant = await createTenant(admin, tenantOptions);
      return { ...tenant, key: await keyWith(tenant, scopes) };
    },
    send(method, path, request = {}) {
      const body = request.json === undefined ? request.body : JSON.stringify(request.json);
      const init: RequestInit = {
        method,
        redirect: "manual",
        headers: {
          ...(request.key === undefined ? {} : { authorization: `Bearer ${request.key}` }),
          ...(request.json === undefined ? {} : { "content-type": "application/json" }),
          ...request.headers,
        },
        body: body ?? null,
        signal: request.signal ?? null,
      };
      return fetch(new URL(path, base), init);
    },
  };
}

/** Reads a problem document and checks its status and code; every refusal of the API has this form. */
export async function expectProblem(
  response: Response,
  status: number,
  code: string,
): Promise<Problem> {
  const text = await response.text();
  expect({ status: response.status, text }).toMatchObject({ status });
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = problemSchema.parse(JSON.parse(text));
  expect(problem).toMatchObject({ status, code, type: `/docs/errors#${code}` });
  expect(problem.request_id).toBe(response.headers.get("x-request-id"));
  return problem;
}

/** The body of a problem without what differs between any two requests. */
export async function withoutRequestId(response: Response): Promise<string> {
  return (await response.text()).replace(/"request_id":"req_[0-9a-z]{26}"/, "");
}
