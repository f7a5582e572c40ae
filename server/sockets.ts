import type { Server } from "node:http";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import { decodeJwt } from "jose";
import type { Identity } from "./identity/identity.ts";
import type { Clock } from "./platform/clock.ts";
import type { Db } from "./platform/db.ts";
import { AppError } from "./platform/errors.ts";
import { addressKey } from "./platform/client-address.ts";
import { every } from "./platform/every.ts";
import type { JobFailures } from "./platform/job-failures.ts";
import { newId } from "./platform/ids.ts";
import type { Logger } from "./platform/log.ts";
import type { RequestLimits } from "./platform/request-limits.ts";
import type { FanOut, SocketSession } from "./realtime/fan-out.ts";
import { createRealtime } from "./realtime/realtime.ts";
import { createSocketTime } from "./realtime/socket-time.ts";
import type { EventBell } from "./tasks/event-bell.ts";
import { readEvents } from "./tasks/task-events.ts";
import { findTasksById } from "./tasks/task-queries.ts";

/** Events in the answer to a follow, which is one message: the rest is read over HTTP, in pages. */
const TAIL = 200;
/**
 * A browser is dropped at a megabyte that it has not read. A larger answer would drop a slow one each time that it comes
 * back and follows again.
 */
const TAIL_CHARACTERS = 200_000;
const POLL_MS = 100;
const FLUSH_SOCKET_TIME_MS = 30_000;

/** The session of a valid access token; undefined for every other credential. */
async function sessionOf(
  identity: Identity,
  accessToken: string,
): Promise<SocketSession | undefined> {
  try {
    const principal = await identity.authenticate(accessToken);
    if (principal.kind !== "user") return undefined;
    // The signature was checked by authenticate; this only reads how long it lasts.
    const { exp = 0 } = decodeJwt(accessToken);
    return { workspaceId: principal.workspaceId, userId: principal.id, expiresAtMs: exp * 1_000 };
  } catch (error) {
    if (error instanceof AppError && error.status === 401) return undefined;
    throw error;
  }
}

/** As many of the first events as fit into one answer, and one at least. */
function beginningOf(events: Event[]): Event[] {
  let characters = 0;
  const end = events.findIndex((event, index) => {
    characters += JSON.stringify(event).length;
    return index > 0 && characters > TAIL_CHARACTERS;
  });
  return end === -1 ? events : events.slice(0, end);
}

async function tailOf(
  db: Db,
  cursor: { workspaceId: string; taskId: string; after: number },
): Promise<{ events: Event[]; lastSeq: number } | undefined> {
  const page = await db.withWorkspace(cursor.workspaceId, (tx) =>
    readEvents(tx, cursor.taskId, { after: cursor.after, limit: TAIL }),
  );
  return page && { events: beginningOf(page.data), lastSeq: page.last_seq };
}

/** Socket fan-out on the page's own HTTP server. Its reading of the event table also rings the bell of the long polls. */
export function createSockets(options: {
  server: Server;
  clock: Clock;
  db: Db;
  identity: Identity;
  eventBell: EventBell;
  origins: readonly string[];
  requestLimits: RequestLimits;
  log: Logger;
  failures: JobFailures;
}): FanOut {
  const { server, clock, db, identity, eventBell, origins, requestLimits, log } = options;
  const socketTime = createSocketTime({ db, clock, nodeId: newId("wrk") });
  const flushing = every(FLUSH_SOCKET_TIME_MS, {
    name: "count_socket_time",
    failures: options.failures,
    run: () => socketTime.flush(),
  });
  const fanOut = createRealtime({
    server,
    clock,
    db,
    log,
    origins,
    pollMs: POLL_MS,
    async mayConnect(request) {
      const key = addressKey(requestLimits.addressOf(request));
      return requestLimits.take("socket_connect", key)?.allowed ?? true;
    },
    maySend: async (userId) => requestLimits.take("socket_message", userId)?.allowed ?? true,
    authenticate: (accessToken) => sessionOf(identity, accessToken),
    tailOf: (workspaceId, taskId, after) => tailOf(db, { workspaceId, taskId, after }),
    tasksOf: (workspaceId, ids) => db.withWorkspace(workspaceId, (tx) => findTasksById(tx, ids)),
    onEvents: (taskId) => eventBell.ring(taskId),
    socketTime,
  });
  return {
    ...fanOut,
    async start() {
      flushing.start();
      await fanOut.start();
    },
    async close() {
      await flushing.close();
      // Closing the sockets ends their time.
      await fanOut.close();
      await socketTime.flush();
    },
  };
}
