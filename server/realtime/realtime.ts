import type { IncomingMessage, Server as HttpServer } from "node:http";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import { Server } from "socket.io";
import { z } from "zod";
import {
  createFanOut,
  type FanOut,
  type FanOutDeps,
  type GuildhallServer,
  type GuildhallSocket,
  type SocketSession,
  taskRoom,
  workspaceRoom,
} from "./fan-out.ts";
import type { Clock } from "../platform/clock.ts";
import type { SocketTime } from "./socket-time.ts";

export type RealtimeDeps = FanOutDeps & {
  server: HttpServer;
  /** Whose tokens' ends are told by it. */
  clock: Clock;
  /** Undefined when the token is no valid access token, or its owner has lost the membership. */
  authenticate(accessToken: string): Promise<SocketSession | undefined>;
  /** The first events of a task after a cursor; undefined when the workspace has no such task. */
  tailOf(
    workspaceId: string,
    taskId: string,
    after: number,
  ): Promise<{ events: Event[]; lastSeq: number } | undefined>;
  /** Whether this request may open a socket now; undefined: any may. */
  mayConnect?(request: IncomingMessage): Promise<boolean>;
  /** Whether this user may send a message now. */
  maySend?(userId: string): Promise<boolean>;
  /** Counts how long sockets are open. */
  socketTime: Pick<SocketTime, "opened">;
  /** Pages of these origins may connect. */
  origins: readonly string[];
};

const MAX_FOLLOWED = 50;
const WARN_BEFORE_END_MS = 60_000;

const authSchema = z.object({ access_token: z.string().max(4_096) });
const followSchema = z.object({ task_id: z.string().max(64), after: z.int().min(0) });

/** Ends a socket with its token; a client that authenticates again in time stays. */
function keepSession(socket: GuildhallSocket, deps: RealtimeDeps): void {
  let timer: NodeJS.Timeout | undefined;
  function arm(): void {
    clearTimeout(timer);
    const leftMs = socket.data.session.expiresAtMs - deps.clock.now().getTime();
    timer = setTimeout(
      () => {
        socket.emit("expiring", {
          in_ms: Math.max(0, socket.data.session.expiresAtMs - deps.clock.now().getTime()),
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
      const tail = await deps.tailOf(workspaceId, taskId, after);
      if (tail) return answer({ ok: true, events: tail.events, last_seq: tail.lastSeq });
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

/** Who sends more than the limit allows is cut off; what the client missed it reads again by cursor. */
function limitMessages(socket: GuildhallSocket, deps: RealtimeDeps): void {
  const { maySend } = deps;
  if (!maySend) return;
  socket.use((_message, next) => {
    void maySend(socket.data.session.userId).then(
      (may) => {
        if (may) next();
        else socket.disconnect(true);
      },
      () => next(),
    );
  });
}

function authenticateHandshake(io: GuildhallServer, deps: RealtimeDeps): void {
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
}

/** Sockets on the page's HTTP server. It owns no state: whatever a socket misses is read again by cursor. */
export function createRealtime(deps: RealtimeDeps): FanOut {
  const io: GuildhallServer = new Server(deps.server, {
    path: "/v1/socket",
    // No long polling: it would need sticky sessions behind a load balancer.
    transports: ["websocket"],
    serveClient: false,
    maxHttpBufferSize: 16_384,
    allowRequest: (request, decide) => {
      const { origin } = request.headers;
      if (origin !== undefined && !deps.origins.includes(origin)) return decide(null, false);
      void (deps.mayConnect?.(request) ?? Promise.resolve(true)).then(
        (may) => decide(null, may),
        () => decide(null, false),
      );
    },
  });
  authenticateHandshake(io, deps);
  io.on("connection", (socket) => {
    const { workspaceId } = socket.data.session;
    void socket.join(workspaceRoom(workspaceId));
    socket.on("disconnect", deps.socketTime.opened(workspaceId));
    limitMessages(socket, deps);
    keepSession(socket, deps);
    serveFollow(socket, deps);
  });
  const fanOut = createFanOut(io, deps);
  return {
    ...fanOut,
    async close() {
      await fanOut.close();
      await io.close();
    },
  };
}
