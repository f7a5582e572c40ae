import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { eventSchema } from "@guildhall/sdk/contract/event.ts";
import pg from "pg";
import { createTask } from "../server/tasks/task-creation.ts";
import { openInstallationOfRoles, type RoleProcess } from "../server/test/role-processes.ts";
import { createAgent, createTenant, type Tenant } from "../server/test/tenant.ts";
import { percentile, printTable } from "./figures.ts";

const RUNS = 1_000;
/** A workspace has at most 256 slots. */
const WORKSPACES = 5;
const CANCELS = 100;
const FOLLOWED = 30;
/** Four leases: who were late with a heartbeat would have lost one. */
const REST_MS = 32_000;
const LOOK_MS = 2;
const WAITING_MODEL = "claude-sonnet-4-5";
const QUICK_MODEL = "claude-haiku-4-5";
const QUICK_AGENT = "quick";

type Stage = {
  installation: Awaited<ReturnType<typeof openInstallationOfRoles>>;
  api: RoleProcess;
  gateway: RoleProcess;
  worker: RoleProcess;
  admin: pg.Client;
  tenants: readonly { tenant: Tenant; key: string }[];
};
type Made = { taskId: string; workspaceId: string; key: string };
type Memory = { workerMb: number; gatewayMb: number };

function rssMb({ process: { pid } }: RoleProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1_024;
}

const memoryOf = ({ worker, gateway }: Stage): Memory => ({
  workerMb: rssMb(worker),
  gatewayMb: rssMb(gateway),
});

async function openStage(): Promise<Stage> {
  const installation = await openInstallationOfRoles({ MODEL_IDLE_TIMEOUT_MS: "3600000" });
  await installation.setFaults([
    { kind: "stall", ms: 3_600_000, before_event: 1, match: { model: WAITING_MODEL } },
  ]);
  const gateway = await installation.start(["gateway"]);
  const to = { GATEWAY_URL: gateway.gatewayUrl };
  const api = await installation.start(["api"], to);
  await installation.start(["scheduler"], to);
  const worker = await installation.start(["worker"], { ...to, WORKER_CONCURRENCY: String(RUNS) });
  const admin = new pg.Client({ connectionString: installation.ownerUrl });
  await admin.connect();
  const tenants: { tenant: Tenant; key: string }[] = [];
  for (let n = 0; n < WORKSPACES; n++) {
    const tenant = await createTenant(admin, { model: WAITING_MODEL });
    const { workspaceId, userId } = tenant;
    await createAgent(admin, { workspaceId, agentId: QUICK_AGENT, model: QUICK_MODEL });
    const { key } = await installation.identity.apiKeys.create({
      workspaceId,
      createdBy: userId,
      actor: `user:${userId}`,
      origin: "bench",
      name: "Bench",
      scopes: ["tasks:read", "tasks:write"],
    });
    tenants.push({ tenant, key });
  }
  return { installation, api, gateway, worker, admin, tenants };
}

async function create(stage: Stage, n: number, agentId?: string): Promise<Made> {
  const of = stage.tenants[n % stage.tenants.length];
  if (of === undefined) throw new Error("there are workspaces");
  const { workspaceId } = of.tenant;
  const caller = { workspaceId, actor: `user:${of.tenant.userId}`, origin: "bench" };
  const body = { agent: agentId ?? of.tenant.agentId, prompt: "Say what you think of it." };
  const { id } = await stage.installation.db.withWorkspace(workspaceId, (tx) =>
    createTask(tx, { caller, body }),
  );
  return { taskId: id, workspaceId, key: of.key };
}

/** Waits until all of these wait for the model. A cancelled one's call goes on without it, at the gateway. */
async function untilCalling({ admin }: Stage, made: readonly Made[]): Promise<void> {
  for (;;) {
    const { rows } = await admin.query<{ calling: number }>(
      `SELECT count(*)::int AS calling FROM runs r JOIN holds h ON h.workspace_id = r.workspace_id AND h.run_id = r.id AND h.state = 'DISPATCHED'
         WHERE r.task_id = ANY ($1) AND r.state = 'claimed'`,
      [made.map((one) => one.taskId)],
    );
    if (rows[0]?.calling === made.length) return;
    await delay(made.length > 1 ? LOOK_MS * 100 : LOOK_MS);
  }
}

/** The worker has let go of the run: what it did not use of its booked time is back. */
async function hasStopped({ admin }: Stage, { taskId, workspaceId }: Made): Promise<boolean> {
  const { rows } = await admin.query<{ stopped: boolean }>(
    `SELECT EXISTS (SELECT FROM runs r JOIN time_slices s ON s.workspace_id = r.workspace_id AND s.run_id = r.id
       WHERE r.workspace_id = $1 AND r.task_id = $2 AND s.returned_ms > 0) AS stopped`,
    [workspaceId, taskId],
  );
  return rows[0]?.stopped === true;
}

/** -> milliseconds from the request until the worker has stopped the run */
async function cancel(stage: Stage, made: Made): Promise<number> {
  const begun = performance.now();
  const answer = await fetch(`${stage.api.url}/v1/tasks/${made.taskId}/cancel`, {
    method: "POST",
    headers: { authorization: `Bearer ${made.key}` },
  });
  if (!answer.ok) throw new Error(`cancelling was refused: ${await answer.text()}`);
  await answer.arrayBuffer();
  while (!(await hasStopped(stage, made))) await delay(LOOK_MS);
  return performance.now() - begun;
}

/** Follows one task to its end. -> milliseconds from each event's being written to its arrival */
async function followOne(stage: Stage, n: number): Promise<number[]> {
  const { taskId, key } = await create(stage, n, QUICK_AGENT);
  const answer = await fetch(`${stage.api.url}/v1/tasks/${taskId}/events/stream`, {
    headers: { authorization: `Bearer ${key}` },
  });
  const arrivals: number[] = [];
  const lines = answer.body?.pipeThrough(new TextDecoderStream()) ?? [];
  let rest = "";
  for await (const text of lines) {
    const nowMs = Date.now();
    const frames = (rest + text).split("\n\n");
    rest = frames.pop() ?? "";
    for (const frame of frames) {
      const [, data] = /^event: task_event\ndata: (.*)$/m.exec(frame) ?? [];
      if (data !== undefined)
        arrivals.push(nowMs - Date.parse(eventSchema.parse(JSON.parse(data)).at));
    }
  }
  // The first one was there before anybody followed.
  return arrivals.slice(1);
}

async function follow(stage: Stage): Promise<number[]> {
  const all: number[] = [];
  for (let n = 0; n < FOLLOWED; n++) all.push(...(await followOne(stage, n)));
  return all;
}

async function lostAttempts({ admin }: Stage): Promise<number> {
  const { rows } = await admin.query<{ lost: number }>(
    "SELECT count(*)::int AS lost FROM attempts WHERE end_reason = 'lease_lost'",
  );
  return rows[0]?.lost ?? 0;
}

type Measured = { cancels: number[]; events: number[]; memory: Memory };

/** One run waits at a time. */
async function few(stage: Stage): Promise<Measured> {
  const cancels: number[] = [];
  for (let n = 0; n < CANCELS; n++) {
    const made = await create(stage, n);
    await untilCalling(stage, [made]);
    cancels.push(await cancel(stage, made));
  }
  return { cancels, events: await follow(stage), memory: memoryOf(stage) };
}

async function many(stage: Stage): Promise<Measured> {
  const made: Made[] = [];
  for (let n = 0; n < RUNS; n++) made.push(await create(stage, n));
  await untilCalling(stage, made);
  await delay(REST_MS);
  const memory = memoryOf(stage);
  const cancels: number[] = [];
  for (const one of made.slice(0, CANCELS)) cancels.push(await cancel(stage, one));
  // These have the places that are free now.
  return { cancels, events: await follow(stage), memory };
}

/** What a worker process with a thousand runs that wait for their model costs, and whether they are in each other's way. */
export async function benchWaitingRuns(): Promise<void> {
  const stage = await openStage();
  try {
    const idle = memoryOf(stage);
    const measured: [name: string, Measured][] = [
      ["1 run waiting", await few(stage)],
      [`${RUNS} runs waiting`, await many(stage)],
    ];
    printTable(
      measured.map(([what, { cancels, events, memory }]) => ({
        what,
        "worker RSS MB": memory.workerMb,
        "gateway RSS MB": memory.gatewayMb,
        "cancel to stop p50 ms": percentile(cancels, 0.5),
        "p99 ms": percentile(cancels, 0.99),
        "event written to read p50 ms": percentile(events, 0.5),
        "p99 ms ": percentile(events, 0.99),
      })),
    );
    console.log(
      `\nBefore the first task: worker ${idle.workerMb.toFixed(0)} MB, gateway ${idle.gatewayMb.toFixed(0)} MB. Leases lost: ${await lostAttempts(stage)}.`,
    );
  } finally {
    await stage.admin.end();
    await stage.installation.close();
  }
}
