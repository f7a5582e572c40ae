import { io, type Socket } from "socket.io-client";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { createTaskStream, type EventPage, type TaskStream } from "../events/task-stream.ts";
import type { ConnectionState } from "./connection.ts";

export type RealtimeDeps = {
  /** Origin of the server. */
  url: string;
  /** A token for the handshake; asked again for each connection. */
  token: () => Promise<string>;
  /** A new token, because the old one ends or was refused. */
  renewToken: () => Promise<string>;
  readEvents: (query: { taskId: string; after: number }) => Promise<EventPage>;
  onTask: (task: Task) => void;
  onState: (state: ConnectionState) => void;
  /** How often streams are read while there is no socket. */
  pollMs: number;
};

export type Realtime = {
  /** Starts to follow a task, or joins those who do. Call `release` when it is no longer shown. */
  follow(taskId: string): { stream: TaskStream; release: () => void };
  close(): void;
};

type Feed = { stream: TaskStream; users: number; reading: boolean };
type GuildhallSocket = Socket<ServerToClient, ClientToServer>;

/**
 * Follows tasks by socket, and by reading over HTTP as long as there is none. Sockets are a hint: each stream fills
 * its own gaps, so neither a lost message nor a changed transport can leave a hole.
 */
export function createRealtime(deps: RealtimeDeps): Realtime {
  const feeds = new Map<string, Feed>();
  const socket = openSocket(deps);
  let closed = false;

  async function read(feed: Feed): Promise<void> {
    if (feed.reading || feed.stream.closed()) return;
    feed.reading = true;
    try {
      await feed.stream.fill();
      if (!socket.connected) deps.onState("polling");
    } catch {
      if (!socket.connected && !closed) deps.onState("offline");
    } finally {
      feed.reading = false;
    }
  }

  function subscribe(taskId: string, feed: Feed): void {
    if (!socket.connected || feed.stream.closed()) return;
    socket.emit("follow", { task_id: taskId, after: feed.stream.view().lastSeq }, (answer) => {
      if (answer.ok) feed.stream.receive(answer.events);
      else void read(feed);
    });
  }

  socket.on("connect", () => {
    deps.onState("live");
    for (const [taskId, feed] of feeds) subscribe(taskId, feed);
  });
  socket.on("events", (batch: { stream_id: string; events: Event[] }) => {
    feeds.get(batch.stream_id)?.stream.receive(batch.events);
  });
  socket.on("task", deps.onTask);

  const poll = setInterval(() => {
    if (socket.connected) return;
    for (const feed of feeds.values()) void read(feed);
  }, deps.pollMs);

  return {
    follow(taskId) {
      const known = feeds.get(taskId);
      const feed: Feed = known ?? {
        stream: createTaskStream({
          taskId,
          readPage: ({ after }) => deps.readEvents({ taskId, after }),
          // The next delivery or the next poll reads again.
          onFillFailed: () => undefined,
        }),
        users: 0,
        reading: false,
      };
      feed.users += 1;
      if (known === undefined) {
        feeds.set(taskId, feed);
        // A long history comes in pages over HTTP; the socket only has to add what is new.
        void read(feed).then(() => subscribe(taskId, feed));
      }
      let released = false;
      return {
        stream: feed.stream,
        release() {
          if (released) return;
          released = true;
          feed.users -= 1;
          if (feed.users > 0) return;
          feeds.delete(taskId);
          if (socket.connected) socket.emit("unfollow", { task_id: taskId });
        },
      };
    },
    close() {
      closed = true;
      clearInterval(poll);
      socket.disconnect();
    },
  };
}

function openSocket(deps: RealtimeDeps): GuildhallSocket {
  const socket: GuildhallSocket = io(deps.url, {
    // Some proxies block WebSocket: then the same protocol goes over HTTP.
    transports: ["websocket", "polling"],
    tryAllTransports: true,
    reconnectionDelayMax: 5_000,
    auth: (give) => {
      deps.token().then(
        (token) => give({ access_token: token }),
        () => give({}),
      );
    },
  });
  let refusals = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  socket.on("connect", () => {
    refusals = 0;
  });
  socket.on("connect_error", () => {
    deps.onState("polling");
    // Refused by the server: the library does not try again by itself. A new token may be what is missing.
    if (socket.active) return;
    refusals += 1;
    clearTimeout(retry);
    retry = setTimeout(
      () => {
        deps.renewToken().then(
          () => socket.connect(),
          () => socket.connect(),
        );
      },
      Math.min(30_000, 500 * 2 ** refusals),
    );
  });
  socket.on("disconnect", (reason) => {
    if (reason === "io client disconnect") {
      clearTimeout(retry);
      return;
    }
    deps.onState("connecting");
    if (reason === "io server disconnect") socket.connect();
  });
  socket.on("expiring", () => {
    deps.renewToken().then(
      (token) => socket.emit("authenticate", { access_token: token }, () => undefined),
      () => undefined,
    );
  });
  return socket;
}
