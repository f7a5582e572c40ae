import type { LimitLevel, LimitMeter, WaitingTask } from "@guildhall/sdk/contract/limit.ts";
import type { Parked } from "@guildhall/sdk/contract/task.ts";
import type { WorkspaceTx } from "../../platform/db.ts";
import { limitKey } from "./limit-changes.ts";

/** What waits for one thing: the first of them by name, and how many there are. */
export type Waiting = { waiting: WaitingTask[]; waiting_count: number };

/** So many are named; the others are counted. */
const MOST_NAMED = 20;

export type PausedTasks = {
  /** Paused at this limit. */
  at(limit: { level: LimitLevel; scope_id: string; meter: LimitMeter }): Waiting;
  /** What pauses tasks without being an amount. `about`: the model, or the reason of the suspension. */
  stops: { kind: "unpriced" | "suspended"; about: string; tasks: Waiting }[];
};

type Row = { id: string; title: string; agent_id: string; parked: Parked; since: Date };
type Group = Waiting & { parked: Parked };

function groupOf({ parked }: Row): string | undefined {
  switch (parked.kind) {
    case "limit":
      return `limit ${limitKey(parked)}`;
    case "unpriced":
      return `unpriced ${parked.model}`;
    case "suspended":
      return `suspended ${parked.reason}`;
    default:
      return undefined;
  }
}

function toWaiting({ id, title, agent_id: agentId, parked, since }: Row): WaitingTask {
  const limit = parked.kind === "limit" ? parked : undefined;
  return {
    task_id: id,
    title,
    agent_id: agentId,
    why: limit?.status ?? (parked.kind === "unpriced" ? "unpriced" : "suspended"),
    needed: limit?.needed ?? null,
    since: since.toISOString(),
  };
}

/** Every task that something other than a person or a colleague holds up, by what holds it up. */
export async function readPausedTasks(tx: WorkspaceTx): Promise<PausedTasks> {
  const rows = await tx.query<Row>({
    name: "limit_paused_tasks",
    text: `SELECT t.id, t.title, t.agent_id, t.parked, coalesce(a.ended_at, t.created_at) AS since FROM tasks t
      LEFT JOIN runs r ON r.workspace_id = t.workspace_id AND r.task_id = t.id AND r.state <> 'ended'
      LEFT JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch
      WHERE t.workspace_id = current_workspace() AND t.state = 'paused' AND t.parked IS NOT NULL ORDER BY since, t.id`,
    values: [],
  });
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = groupOf(row);
    if (key === undefined) continue;
    const group = groups.get(key) ?? { waiting: [], waiting_count: 0, parked: row.parked };
    if (group.waiting.length < MOST_NAMED) group.waiting.push(toWaiting(row));
    group.waiting_count += 1;
    groups.set(key, group);
  }
  return {
    at: (limit) => {
      const group = groups.get(`limit ${limitKey(limit)}`);
      return { waiting: group?.waiting ?? [], waiting_count: group?.waiting_count ?? 0 };
    },
    stops: [...groups.values()].flatMap(({ parked, ...tasks }): PausedTasks["stops"] => {
      if (parked.kind === "unpriced") return [{ kind: parked.kind, about: parked.model, tasks }];
      if (parked.kind === "suspended") return [{ kind: parked.kind, about: parked.reason, tasks }];
      return [];
    }),
  };
}

/** The runs that wait longest for a slot. */
export async function readQueuedTasks(tx: WorkspaceTx): Promise<WaitingTask[]> {
  const rows = await tx.query<Omit<Row, "parked">>({
    name: "limit_queued_tasks",
    text: `SELECT t.id, t.title, t.agent_id, r.queued_at AS since FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
      WHERE r.workspace_id = current_workspace() AND r.state = 'queued' ORDER BY r.turn_at, r.id LIMIT ${MOST_NAMED}`,
    values: [],
  });
  return rows.map(({ id, title, agent_id: agentId, since }) => ({
    task_id: id,
    title,
    agent_id: agentId,
    why: "queued",
    needed: 1,
    since: since.toISOString(),
  }));
}
