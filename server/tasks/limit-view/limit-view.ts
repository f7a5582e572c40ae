import type { LimitLevel, LimitList, LimitMeter } from "@guildhall/sdk/contract/limit.ts";
import type { WorkspaceTx } from "../../platform/db.ts";
import type { StorageUse } from "../../platform/file-store/contents.ts";
import { operatorOnly } from "../raisers.ts";
import { taskDefaults } from "../task-creation.ts";
import { readTemporaryLimits } from "../temporary-limits.ts";
import { readMeters } from "../usage.ts";
import {
  limitKey,
  readLimitChanges,
  readStorageChanges,
  type LimitChanges,
} from "./limit-changes.ts";
import {
  countQueued,
  readLevelUse,
  readPeriods,
  readScopeNames,
  readSharedLevels,
  readTaskUse,
  type LevelUse,
  type LimitPeriods,
} from "./limit-reading.ts";
import { EACH_NEW_TASK, toLimitRow, type ReadLimit } from "./limit-rows.ts";
import { readPausedTasks, readQueuedTasks, type Waiting } from "./limit-waiting.ts";

const PERIOD_METERS = ["model_cost", "agent_time"] as const;
const nothing: Waiting = { waiting: [], waiting_count: 0 };

type Use = (
  level: LimitLevel,
  scopeId: string,
  meter: LimitMeter,
) => Pick<LevelUse, "used" | "held">;

function useOf(rows: readonly LevelUse[]): Use {
  const uses = new Map(rows.map((row) => [limitKey(row), row]));
  return (level, scopeId, meter) => {
    const { used = 0, held = 0 } = uses.get(limitKey({ level, scope_id: scopeId, meter })) ?? {};
    return { used, held };
  };
}

/** The workspace's own limits, one for each meter. */
async function workspaceLimits(
  tx: WorkspaceTx,
  { periods, storage }: { periods: LimitPeriods; storage: StorageUse },
): Promise<ReadLimit[]> {
  const base = {
    level: "workspace",
    scope_id: tx.workspaceId,
    scope_name: periods.workspaceName,
  } as const;
  const queued = await countQueued(tx);
  const meters = await readMeters(tx);
  const rows: ReadLimit[] = [];
  for (const { meter, used, held, limit, period } of meters) {
    const isFull = meter === "concurrent_tasks" && limit !== null && used >= limit;
    rows.push({
      ...base,
      meter,
      window: period === "hour" || period === "now" ? period : "month",
      used,
      held,
      ...(meter === "concurrent_tasks"
        ? {
            queue:
              isFull && queued > 0
                ? { waiting: await readQueuedTasks(tx), waiting_count: queued }
                : nothing,
          }
        : {}),
    });
  }
  rows.push({
    ...base,
    meter: "storage_bytes",
    window: "now",
    used: storage.usedBytes,
    held: 0,
    max: storage.quotaBytes,
  });
  return rows;
}

/** Limits of agents and keys that somebody has set and not removed again. */
async function scopedLimits(
  tx: WorkspaceTx,
  { use, changes }: { use: Use; changes: LimitChanges },
): Promise<ReadLimit[]> {
  const names = await readScopeNames(tx);
  return [...changes].flatMap(([key, versions]): ReadLimit[] => {
    const [level, scopeId = "", text] = key.split(" ");
    const meter = PERIOD_METERS.find((known) => known === text);
    if ((level !== "agent" && level !== "key") || meter === undefined) return [];
    if ((versions[0]?.amount ?? null) === null) return [];
    return [
      {
        level,
        scope_id: scopeId,
        scope_name: names.get(`${level} ${scopeId}`) ?? null,
        meter,
        window: "month",
        ...use(level, scopeId, meter),
      },
    ];
  });
}

/** What the levels above the workspace say, with this workspace's own figures only. */
async function sharedLimits(tx: WorkspaceTx, use: Use): Promise<ReadLimit[]> {
  const limits: ReadLimit[] = [];
  for (const meter of PERIOD_METERS) {
    for (const { level, scope_id: scopeId, outcome } of await readSharedLevels(tx, meter))
      limits.push({
        level,
        scope_id: scopeId,
        scope_name: null,
        meter,
        window: level === "platform" ? "day" : "month",
        ...use(level, scopeId, meter),
        max: null,
        stopped: outcome !== "fits",
      });
  }
  return limits;
}

/** The caps that every new task starts with. */
const newTaskCaps = (
  [
    ["model_cost", taskDefaults.costNanoUsd],
    ["agent_time", taskDefaults.agentTimeMs],
    ["model_calls", taskDefaults.modelCalls],
    ["tool_calls", taskDefaults.toolCalls],
  ] as const
).map(([meter, max]): ReadLimit => ({
  level: "task",
  scope_id: EACH_NEW_TASK,
  scope_name: null,
  meter,
  window: "task",
  used: 0,
  held: 0,
  max,
}));

/** Every limit that can stop work of the workspace, how it stands, what waits for it, and who changed it when. */
export async function readLimits(
  tx: WorkspaceTx,
  { mayChange, storage }: { mayChange: boolean; storage: StorageUse },
): Promise<Omit<LimitList, "simulated">> {
  const periods = await readPeriods(tx);
  const use = useOf(await readLevelUse(tx, periods));
  const tasks = await readTaskUse(tx);
  const stored = { level: "workspace", scope_id: tx.workspaceId, meter: "storage_bytes" } as const;
  const changes = new Map([
    ...(await readLimitChanges(tx, [...new Set(tasks.map((task) => task.scope_id))])),
    [limitKey(stored), await readStorageChanges(tx, storage.installationQuotaBytes)],
  ]);
  const paused = await readPausedTasks(tx);
  const limits: ReadLimit[] = [
    ...(await workspaceLimits(tx, { periods, storage })),
    ...(await scopedLimits(tx, { use, changes })),
    ...newTaskCaps,
    ...tasks.map(({ title, ...cap }): ReadLimit => ({
      ...cap,
      level: "task",
      scope_name: title,
      window: "task",
    })),
    ...(await sharedLimits(tx, use)),
  ];
  const temporary = await readTemporaryLimits(tx);
  const context = { periods, changes, paused, temporary, mayChange };
  const raisedBy = [...operatorOnly];
  const suspended = paused.stops.find(({ kind }) => kind === "suspended");
  return {
    data: limits.map((limit) => toLimitRow(limit, context)),
    stops: [
      ...(periods.suspended === null
        ? []
        : [
            {
              kind: "suspended" as const,
              reason: periods.suspended,
              raised_by: raisedBy,
              ...(suspended?.tasks ?? nothing),
            },
          ]),
      ...paused.stops.flatMap(({ kind, about, tasks: waiting }) =>
        kind === "unpriced" ? [{ kind, model: about, raised_by: raisedBy, ...waiting }] : [],
      ),
    ],
  };
}
