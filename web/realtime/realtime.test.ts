import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { Server } from "socket.io";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Event } from "../events/event-parts.ts";
import { reduceAll } from "../events/reducer.ts";
import { emptyTaskView } from "../events/task-view.ts";
import { streamOf } from "../test/events.ts";
import type { ConnectionState } from "./connection.ts";
import { createRealtime } from "./realtime.ts";

/** What is waited for comes at once; so long only on a machine that has much else to do. */
const PATIENCE = { timeout: 20_000 };

const events = streamOf([
  { type: "run.claimed", data: { run_id: "run_1", attempt: 1, worker_id: "wrk_1" } },
  ...Array.from({ length: 30 }, (_, index) => ({
    type: "tool.started" as const,
    data: { step: index, tool_use_id: `t${index}`, name: "read_file", input: { path: "a" } },
  })),
  { type: "task.succeeded", data: { result: "done" } },
]);
const whole = reduceAll(emptyTaskView("task_1"), events);

const closers: (() => void | Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A server of this test: a table that grows by `publish`, pushed to those who follow unless `mute` is set. */
async function startServer() {
  const http = createServer();
  const io = new Server<ClientToServer, ServerToClient>(http, { path: "/v1/socket" });
  const state = {
    published: 0,
    mute: false,
    refuse: false,
    refuseFollow: false,
    follows: [] as number[],
    /** Events in the answer to a follow. */
    tail: Infinity,
  };
  io.use((socket, next) => {
    const { access_token: token } = socket.handshake.auth as { access_token?: string };
    next(state.refuse || token !== "fresh" ? new Error("unauthorized") : undefined);
  });
  io.on("connection", (socket) => {
    socket.on("follow", async ({ task_id: id, after }, answer) => {
      if (state.refuseFollow) return answer({ ok: false, code: "too_many_followed" });
      state.follows.push(after);
      await socket.join(id);
      const tail = events.slice(after, Math.min(after + state.tail, state.published));
      answer({ ok: true, events: tail, last_seq: state.published });
    });
    socket.on("unfollow", ({ task_id: id }) => void socket.leave(id));
  });
  await new Promise<void>((resolve) => {
    http.listen(0, "127.0.0.1", resolve);
  });
  closers.push(() => io.close());
  return {
    io,
    state,
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    publish(upTo: number) {
      const batch = events.slice(state.published, upTo);
      const after = state.published;
      state.published = upTo;
      if (!state.mute)
        io.to("task_1").emit("events", { stream_id: "task_1", after, events: batch });
    },
  };
}

type TestServer = Awaited<ReturnType<typeof startServer>>;

function connect(server: TestServer, more: { token?: string; tasks?: Task[] } = {}) {
  const states: ConnectionState[] = [];
  let token = more.token ?? "fresh";
  const network = { up: true, reads: 0 };
  const realtime = createRealtime({
    url: server.url,
    token: async () => token,
    renewToken: async () => (token = "fresh"),
    readEvents: async ({ after }) => {
      network.reads += 1;
      if (!network.up) throw new TypeError("fetch failed");
      const page: Event[] = events.slice(after, Math.min(after + 7, server.state.published));
      const lastSeq = server.state.published;
      return { events: page, lastSeq, closed: lastSeq === events.length };
    },
    onTask: (task) => more.tasks?.push(task),
    onState: (state) => states.push(state),
    onSocketFailed: () => undefined,
    pollMs: 20,
  });
  closers.unshift(() => realtime.close());
  return { realtime, states, network };
}

describe("createRealtime", () => {
  it("shows the history and then every pushed event", async () => {
    const server = await startServer();
    server.publish(10);
    const { realtime, states } = connect(server);
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(server.state.follows).toEqual([10]), PATIENCE);
    server.publish(20);
    server.publish(events.length);
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
    expect(states).toContain("live");
  });

  it("resumes from the last event after a cut, without a hole", async () => {
    const server = await startServer();
    server.publish(5);
    const { realtime } = connect(server);
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(server.state.follows).toEqual([5]), PATIENCE);
    server.state.mute = true;
    server.io.disconnectSockets(true);
    server.publish(17);
    server.state.mute = false;
    await vi.waitFor(() => expect(stream.view().lastSeq).toBe(17), PATIENCE);
    server.publish(events.length);
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
  });

  it("reads the rest of a tail that is too long for the answer to a follow, also when the first reading fails", async () => {
    const server = await startServer();
    server.publish(3);
    const { realtime, network } = connect(server);
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(server.state.follows).toEqual([3]), PATIENCE);
    Object.assign(server.state, { mute: true, tail: 2 });
    network.up = false;
    server.io.disconnectSockets(true);
    server.publish(events.length);
    await vi.waitFor(() => expect(stream.view().lastSeq).toBe(5), { timeout: 5_000 });
    network.up = true;
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
  });

  it("polls when sockets are refused, and says so", async () => {
    const server = await startServer();
    server.state.refuse = true;
    server.publish(12);
    const { realtime, states } = connect(server);
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(stream.view().lastSeq).toBe(12), PATIENCE);
    server.publish(events.length);
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
    expect(states).toContain("polling");
    expect(states).not.toContain("live");
  });

  it("polls a task that the server will not push, beside those that it pushes", async () => {
    const server = await startServer();
    server.state.refuseFollow = true;
    const { realtime, states } = connect(server);
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(states).toContain("live"), PATIENCE);
    server.publish(events.length);
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
  });

  it("brings a new token when the old one is refused", async () => {
    const server = await startServer();
    const { states } = connect(server, { token: "ended" });
    await vi.waitFor(() => expect(states).toContain("live"), { timeout: 5_000 });
  });

  it("reads what was never pushed once the task's row tells of it", async () => {
    const server = await startServer();
    server.publish(3);
    const tasks: Task[] = [];
    const { realtime } = connect(server, { tasks });
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(server.state.follows).toEqual([3]), PATIENCE);
    server.state.mute = true;
    server.publish(events.length);
    server.io.emit("task", { id: "task_1", last_seq: events.length } as Task);
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
    expect(tasks).toHaveLength(1);
  });

  it("says that it is offline when neither way works, and recovers", async () => {
    const server = await startServer();
    server.state.refuse = true;
    const { realtime, states, network } = connect(server);
    network.up = false;
    const { stream } = realtime.follow("task_1");
    await vi.waitFor(() => expect(states).toContain("offline"), PATIENCE);
    network.up = true;
    server.publish(events.length);
    await vi.waitFor(() => expect(stream.view()).toEqual(whole), PATIENCE);
  });

  it("reads a task once for all who follow it, and stops with the last of them", async () => {
    const server = await startServer();
    server.state.refuse = true;
    const { realtime, network } = connect(server);
    const first = realtime.follow("task_1");
    const second = realtime.follow("task_1");
    expect(second.stream).toBe(first.stream);
    first.release();
    first.release();
    server.publish(4);
    await vi.waitFor(() => expect(second.stream.view().lastSeq).toBe(4), PATIENCE);
    second.release();
    const { reads } = network;
    const other = realtime.follow("task_2");
    await vi.waitFor(() => expect(network.reads).toBeGreaterThan(reads + 3), PATIENCE);
    expect(first.stream.view().lastSeq).toBe(4);
    other.release();
  });
});
