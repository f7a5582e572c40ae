import type { Server as HttpServer } from "node:http";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { Server, type Socket } from "socket.io";
import { z } from "zod";
import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";
import { newestPosition, readFeed } from "./feed.ts";

/** Whom a socket speaks for. Everything it may see follows from this, never from what the client says. */
export type SocketSession = { workspaceId: string; userId: string; expiresAtMs: number };

export type RealtimeDeps = {
  server: HttpServer;
  db: Db;
  log: Logger;
  /** Undefined when the token is no valid access token, or its owner has lost the membership. */
  authenticate(accessToken: string): Promise<SocketSession | undefined>;
  /** Events of a task after a cursor; undefined when the workspace has no such task. */
  tailOf(workspaceId: string, taskId: string, after: number): Promise<Event[] | undefined>;
  /** Rows of tasks for lists; ids of other workspaces are left out. */
  tasksOf(workspaceId: string, taskIds: readonly string[]): Promise<Task[]>;
  /** A task has new events: for those who wait for them in this process. */
  onEvents?(taskId: string): void;
  /** Pages of these origins may connect. */
  origins: readonly string[];
  /** How often the table is read when no bell rang; milliseconds. */
  pollMs: number;
};

export type Realtime = {
  start(): Promise<void>;
  /** There may be news: reads the table now instead of at the next poll. */
  ring(): void;
  close(): Promise<void>;
};

type GuildhallSocket = Socket<
  ClientToServer,
  ServerToClient,
  Record<string, never>,
  { session: SocketSession }
>;

/** A browser that reads slower than its events come is dropped at this many buffered bytes; it resumes by cursor. */
const MAX_BUFFERED_BYTES = 1_000_000;
const MAX_FOLLOWED = 50;
const WARN_BEFORE_END_MS = 60_000;

const authSchema = z.object({ access_token: z.string().max(4_096) });
const followSchema = z.object({ task_id: z.string().max(64), after: z.int().min(0) });

const workspaceRoom = (workspaceId: string): string => `workspace:${workspaceId}`;
const taskRoom = (workspaceId: string, taskId: string): string => `task:${workspaceId}:${taskId}`;

/** Ends a socket with its token; a client that authenticates again in time stays. */
function keepSession(socket: GuildhallSocket, deps: RealtimeDeps): void {
  let timer: NodeJS.Timeout | undefined;
  function arm(): void {
    clearTimeout(timer);
    const leftMs = socket.data.session.expiresAtMs - Date.now();
    timer = setTimeout(
      () => {
        socket.emit("expiring", {
          in_ms: Math.max(0, socket.data.session.expiresAtMs - Date.now()),
        });
        timer = setTimeout(() => socket.disconnect(true), Math.min(leftMs, WARN_BEFORE_END_MS));
      },
      Math.max(0, leftMs - WARN_BEFORE_END_MS),
    );
  }
  arm();
  socket.on("disconnect", () => clearTimeout(timer));
  socket.on("authenticate", async (message, answer) => {
    const parsed = authSchema.safeParse(message);
    const session = parsed.success ? await deps.authenticate(parsed.data.access_token) : undefined;
    const same =
      session?.workspaceId === socket.data.session.workspaceId &&
      session.userId === socket.data.session.userId;
    if (session && same) {
      socket.data.session = session;
      arm();
    }
    if (typeof answer === "function") answer({ ok: same });
  });
}

function serveFollow(socket: GuildhallSocket, deps: RealtimeDeps): void {
  socket.on("follow", async (message, answer) => {
    if (typeof answer !== "function") return;
    const parsed = followSchema.safeParse(message);
    if (!parsed.success) return answer({ ok: false, code: "validation_failed" });
    if (socket.rooms.size > MAX_FOLLOWED) return answer({ ok: false, code: "too_many_followed" });
    const { task_id: taskId, after } = parsed.data;
    const { workspaceId } = socket.data.session;
    try {
      // Joined before the tail is read: an event between the two arrives twice, which the client drops, never not at all.
      await socket.join(taskRoom(workspaceId, taskId));
      const events = await deps.tailOf(workspaceId, taskId, after);
      if (events) return answer({ ok: true, events });
      await socket.leave(taskRoom(workspaceId, taskId));
      answer({ ok: false, code: "task_not_found" });
    } catch (error) {
      deps.log.warn({ err: error }, "a follow could not be answered");
      answer({ ok: false, code: "internal_error" });
    }
  });
  socket.on("unfollow", (message) => {
    const parsed = followSchema.pick({ task_id: true }).safeParse(message);
    if (parsed.success)
      void socket.leave(taskRoom(socket.data.session.workspaceId, parsed.data.task_id));
  });
}

/** The tail of the event table, fanned out to rooms. It owns no state: whatever a socket misses is read again by cursor. */
export function createRealtime(deps: RealtimeDeps): Realtime {
  const io = new Server<
    ClientToServer,
    ServerToClient,
    Record<string, never>,
    { session: SocketSession }
  >(deps.server, {
    path: "/v1/socket",
    // No long polling: it would need sticky sessions behind a load balancer.
    transports: ["websocket"],
    serveClient: false,
    maxHttpBufferSize: 16_384,
    allowRequest: (request, decide) => {
      const { origin } = request.headers;
      decide(null, origin === undefined || deps.origins.includes(origin));
    },
  });
  let position = 0;
  let closed = false;
  let rung = false;
  let timer: NodeJS.Timeout | undefined;
  let reading: Promise<void> | undefined;

  io.use((socket, next) => {
    const parsed = authSchema.safeParse(socket.handshake.auth);
    void (
      parsed.success ? deps.authenticate(parsed.data.access_token) : Promise.resolve(undefined)
    ).then(
      (session) => {
        if (!session) return next(new Error("unauthorized"));
        socket.data.session = session;
        next();
      },
      () => next(new Error("unavailable")),
    );
  });
  io.on("connection", (socket) => {
    void socket.join(workspaceRoom(socket.data.session.workspaceId));
    keepSession(socket, deps);
    serveFollow(socket, deps);
  });

  function dropSlowSockets(): void {
    for (const socket of io.sockets.sockets.values()) {
      const transport = socket.conn.transport as { socket?: { bufferedAmount?: number } };
      if ((transport.socket?.bufferedAmount ?? 0) > MAX_BUFFERED_BYTES) socket.disconnect(true);
    }
  }

  async function fanOut(): Promise<void> {
    const page = await readFeed(deps.db, position);
    const streams = Map.groupBy(
      page.events,
      ({ workspaceId, event }) => `${workspaceId} ${event.stream_id}`,
    );
    const changed = new Map<string, Set<string>>();
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
    for (const [workspaceId, ids] of changed) {
      if (!io.sockets.adapter.rooms.has(workspaceRoom(workspaceId))) continue;
      for (const task of await deps.tasksOf(workspaceId, [...ids]))
        io.to(workspaceRoom(workspaceId)).emit("task", task);
    }
    // Only now: what could not be told is read again.
    position = page.position;
    rung ||= page.more;
    dropSlowSockets();
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
      await io.close();
    },
  };
}
