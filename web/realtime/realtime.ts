import { io, type Socket } from "socket.io-client";
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
  /** Something happened to the workspace itself; what it was is read again over HTTP. */
  onWorkspace?: () => void;
  onState: (state: ConnectionState) => void;
  /** There is no socket for now; whether HTTP works is for others to say. */
  onSocketFailed: () => void;
  /** How often streams are read while there is no socket. */
  pollMs: number;
};

export type Realtime = {
  /** Starts to follow a task, or joins those who do. Call `release` when it is no longer shown. */
  follow(taskId: string): { stream: TaskStream; release: () => void };
  close(): void;
};

type Feed = {
  stream: TaskStream;
  users: number;
  reading: boolean;
  /** True while the server pushes this task's events. */
  pushed: boolean;
  /** The last event that the server had when it began to push them; what is missing up to it is read. */
  lastBefore: number;
};
type GuildhallSocket = Socket<ServerToClient, ClientToServer>;

/**
 * Follows tasks by socket, and by reading over HTTP as long as there is none. Sockets are a hint: each stream fills
 * its own gaps, so neither a lost message nor a changed transport can leave a hole.
 */
export function createRealtime(deps: RealtimeDeps): Realtime {
  const feeds = new Map<string, Feed>();
  const { socket, closeSocket } = openSocket(deps);

  async function read(feed: Feed): Promise<void> {
    if (feed.reading || feed.stream.closed()) return;
    feed.reading = true;
    try {
      await feed.stream.fill();
      if (!socket.connected) deps.onState("polling");
    } catch {
      if (!socket.connected) deps.onState("offline");
    } finally {
      feed.reading = false;
    }
  }

  function subscribe(taskId: string, feed: Feed): void {
    if (!socket.connected || feed.users === 0 || feed.stream.closed()) return;
    socket.emit("follow", { task_id: taskId, after: feed.stream.view().lastSeq }, (answer) => {
      // Refused, the task is polled: the server pushes only so many at once.
      feed.pushed = answer.ok;
      if (!answer.ok) return;
      feed.lastBefore = answer.last_seq;
      feed.stream.receive(answer.events);
      if (isMissing(feed)) void read(feed);
    });
  }

  function open(taskId: string): Feed {
    const feed = createFeed(deps, taskId);
    feeds.set(taskId, feed);
    // A long history comes in pages over HTTP; the socket only has to add what is new.
    void read(feed).then(() => subscribe(taskId, feed));
    return feed;
  }

  function close(taskId: string, feed: Feed): void {
    feeds.delete(taskId);
    if (socket.connected) socket.emit("unfollow", { task_id: taskId });
    feed.pushed = false;
  }

  socket.on("connect", () => {
    deps.onState("live");
    for (const [taskId, feed] of feeds) subscribe(taskId, feed);
  });
  socket.on("disconnect", () => {
    for (const feed of feeds.values()) feed.pushed = false;
  });
  socket.on("events", (batch) => {
    feeds.get(batch.stream_id)?.stream.receive(batch.events);
  });
  socket.on("task", (task) => {
    deps.onTask(task);
    const feed = feeds.get(task.id);
    // The row knows of events that were not pushed: the last ones have no later one to betray the gap.
    if (feed && feed.stream.view().lastSeq < task.last_seq) void read(feed);
  });

  socket.on("workspace", () => deps.onWorkspace?.());

  const poll = setInterval(() => {
    for (const feed of feeds.values()) {
      if (!feed.pushed || feed.stream.behind() || isMissing(feed)) void read(feed);
    }
  }, deps.pollMs);

  return {
    follow(taskId) {
      const feed = feeds.get(taskId) ?? open(taskId);
      feed.users += 1;
      let released = false;
      return {
        stream: feed.stream,
        release() {
          if (released) return;
          released = true;
          feed.users -= 1;
          if (feed.users === 0) close(taskId, feed);
        },
      };
    },
    close() {
      clearInterval(poll);
      closeSocket();
    },
  };
}

function createFeed(deps: RealtimeDeps, taskId: string): Feed {
  return {
    stream: createTaskStream({
      taskId,
      readPage: ({ after }) => deps.readEvents({ taskId, after }),
    }),
    users: 0,
    reading: false,
    pushed: false,
    lastBefore: 0,
  };
}

/** The answer to a follow tells only the beginning of a long tail. */
const isMissing = ({ stream, lastBefore }: Feed): boolean => stream.view().lastSeq < lastBefore;

/** The socket, which tries again until it is closed, and brings a new token when its old one is refused. */
function openSocket(deps: RealtimeDeps): { socket: GuildhallSocket; closeSocket: () => void } {
  const socket: GuildhallSocket = io(deps.url, {
    path: "/v1/socket",
    // Where WebSocket is blocked the page polls the API, which needs no second protocol.
    transports: ["websocket"],
    forceNew: true,
    // A proxy may accept and then stay silent, which is no error before this.
    timeout: 5_000,
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

  /** The library does not try again by itself when the server has refused or closed. */
  function tryAgain(): void {
    clearTimeout(retry);
    refusals += 1;
    const connect = () => socket.connect();
    retry = setTimeout(
      () => void deps.renewToken().then(connect, connect),
      Math.min(30_000, 250 * 2 ** refusals),
    );
  }

  socket.on("connect", () => {
    refusals = 0;
  });
  socket.on("connect_error", () => {
    deps.onSocketFailed();
    if (!socket.active) tryAgain();
  });
  socket.on("disconnect", (reason) => {
    if (reason === "io client disconnect") return;
    deps.onState("connecting");
    if (reason === "io server disconnect") tryAgain();
  });
  socket.on("expiring", () => {
    deps.renewToken().then(
      (token) => socket.emit("authenticate", { access_token: token }, () => undefined),
      // The server closes the socket then, and the page signs in again.
      () => undefined,
    );
  });
  return {
    socket,
    closeSocket() {
      clearTimeout(retry);
      socket.disconnect();
    },
  };
}
