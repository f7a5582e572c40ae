import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import type { Server, Socket } from "socket.io";
import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";
import { type FeedEvent, newestPosition, readFeed } from "./feed.ts";

/** Whom a socket speaks for. Everything it may see follows from this, never from what the client says. */
export type SocketSession = { workspaceId: string; userId: string; expiresAtMs: number };

type SocketData = { session: SocketSession };
export type GuildhallServer = Server<
  ClientToServer,
  ServerToClient,
  Record<string, never>,
  SocketData
>;
export type GuildhallSocket = Socket<
  ClientToServer,
  ServerToClient,
  Record<string, never>,
  SocketData
>;

export type FanOutDeps = {
  db: Db;
  log: Logger;
  /** Rows of tasks for lists; ids of other workspaces are left out. */
  tasksOf(workspaceId: string, taskIds: readonly string[]): Promise<Task[]>;
  /** A task has new events: for those who wait for them in this process. */
  onEvents?(taskId: string): void;
  /** How often the table is read when no bell rang; milliseconds. */
  pollMs: number;
};

export type FanOut = {
  start(): Promise<void>;
  /** There may be news: reads the table now instead of at the next poll. */
  ring(): void;
  close(): Promise<void>;
};

/** A browser that reads slower than its events come is dropped at this many buffered bytes; it resumes by cursor. */
const MAX_BUFFERED_BYTES = 1_000_000;

export const workspaceRoom = (workspaceId: string): string => `workspace:${workspaceId}`;
export const taskRoom = (workspaceId: string, taskId: string): string =>
  `task:${workspaceId}:${taskId}`;

/** What the libraries below keep of a connection; no part of it is in their types. */
type Connection = {
  /** Packets that wait until the transport takes them. */
  writeBuffer: readonly { data?: string | Buffer }[];
  transport: { socket: { bufferedAmount: number; terminate(): void } };
};

/** The transport takes nothing more before the last packets have reached the kernel: most of it waits before that. */
function unsentBytes({ writeBuffer, transport }: Connection): number {
  const waiting = writeBuffer.reduce((sum, packet) => sum + (packet.data?.length ?? 0), 0);
  return waiting + transport.socket.bufferedAmount;
}

/** At once: an orderly end would wait behind what is not read. Who still lives notices, and connects again. */
function dropSlowSockets(io: GuildhallServer): void {
  for (const socket of io.sockets.sockets.values()) {
    const connection = socket.conn as unknown as Connection;
    if (unsentBytes(connection) > MAX_BUFFERED_BYTES) connection.transport.socket.terminate();
  }
}

/** Tells the followers of each task its new events. -> the tasks whose rows may have changed, by workspace */
function tellFollowers(
  io: GuildhallServer,
  deps: FanOutDeps,
  events: readonly FeedEvent[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const changed = new Map<string, Set<string>>();
  const ofTasks = events.flatMap(({ workspaceId, event }) =>
    event === undefined ? [] : [{ workspaceId, event }],
  );
  const streams = Map.groupBy(
    ofTasks,
    ({ workspaceId, event }) => `${workspaceId} ${event.stream_id}`,
  );
  for (const batch of streams.values()) {
    const [first] = batch;
    if (!first) continue;
    const { workspaceId, event } = first;
    deps.onEvents?.(event.stream_id);
    io.to(taskRoom(workspaceId, event.stream_id)).emit("events", {
      stream_id: event.stream_id,
      after: event.seq - 1,
      events: batch.map((item) => item.event),
    });
    // Streamed text changes no row; everything else may.
    if (batch.some((item) => item.event.type !== "model.text"))
      changed.set(workspaceId, (changed.get(workspaceId) ?? new Set()).add(event.stream_id));
  }
  return changed;
}

/** Tells every page of a workspace what happened to the workspace itself. */
function tellWorkspaces(io: GuildhallServer, events: readonly FeedEvent[]): void {
  for (const { workspaceId, workspaceEvent } of events)
    if (workspaceEvent !== undefined)
      io.to(workspaceRoom(workspaceId)).emit("workspace", workspaceEvent);
}

/** Reads the event table from its newest position on and tells the rooms what is new. */
export function createFanOut(io: GuildhallServer, deps: FanOutDeps): FanOut {
  let position = 0;
  let closed = false;
  let rung = false;
  let timer: NodeJS.Timeout | undefined;
  let reading: Promise<void> | undefined;

  async function fanOut(): Promise<void> {
    const page = await readFeed(deps.db, position);
    tellWorkspaces(io, page.events);
    for (const [workspaceId, ids] of tellFollowers(io, deps, page.events)) {
      if (!io.sockets.adapter.rooms.has(workspaceRoom(workspaceId))) continue;
      for (const task of await deps.tasksOf(workspaceId, [...ids]))
        io.to(workspaceRoom(workspaceId)).emit("task", task);
    }
    // Only now: what could not be told is read again.
    position = page.position;
    rung ||= page.more;
    dropSlowSockets(io);
  }

  function schedule(delayMs: number): void {
    if (closed) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      rung = false;
      reading = fanOut()
        .catch((error: unknown) =>
          deps.log.warn({ err: error }, "the event feed could not be read"),
        )
        .finally(() => {
          reading = undefined;
          schedule(rung ? 0 : deps.pollMs);
        });
    }, delayMs);
  }

  return {
    async start() {
      position = await newestPosition(deps.db);
      schedule(0);
    },
    ring() {
      rung = true;
      if (!reading) schedule(0);
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await reading;
    },
  };
}
