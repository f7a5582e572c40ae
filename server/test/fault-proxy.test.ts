import { once } from "node:events";
import { createConnection, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { openFaultProxy } from "./fault-proxy.ts";

/** What is waited for comes at once; so long only on a machine that has much else to do. */
const PATIENCE = { timeout: 20_000 };

/** A server that answers every byte with the same, and a connection to it through a proxy. */
async function openEcho() {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy = await openFaultProxy({
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
  });
  const connect = () => {
    const socket: Socket = createConnection({
      port: proxy.port,
      host: "127.0.0.1",
      allowHalfOpen: true,
    });
    const seen = { text: "", ended: false, error: "" };
    socket.on("data", (data: Buffer) => (seen.text += data.toString()));
    socket.on("end", () => (seen.ended = true));
    socket.on("error", (error: NodeJS.ErrnoException) => (seen.error = error.code ?? ""));
    onTestFinished(() => void socket.destroy());
    return { socket, seen };
  };
  onTestFinished(async () => {
    await proxy.close();
    server.close();
  });
  return { proxy, connect };
}

test("what is sent during a partition arrives after it, on open connections and on new ones", async () => {
  const { proxy, connect } = await openEcho();
  const open = connect();
  open.socket.write("a");
  await vi.waitUntil(() => open.seen.text === "a", PATIENCE);
  proxy.drop();
  open.socket.write("b");
  const late = connect();
  late.socket.write("c");
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect([open.seen.text, late.seen.text]).toEqual(["a", ""]);
  proxy.heal();
  await vi.waitUntil(() => open.seen.text === "ab" && late.seen.text === "c", PATIENCE);
});

test("a connection is broken off at the byte, and refused until healed", async () => {
  const { proxy, connect } = await openEcho();
  proxy.cutAfter(3);
  const cut = connect();
  cut.socket.write("abc");
  await vi.waitUntil(() => cut.seen.text === "abc", PATIENCE);
  cut.socket.write("d");
  await vi.waitUntil(() => cut.seen.error === "ECONNRESET", PATIENCE);
  proxy.refuse();
  const refused = connect();
  refused.socket.write("x");
  await vi.waitUntil(() => refused.seen.error === "ECONNRESET", PATIENCE);
  proxy.heal();
  const whole = connect();
  whole.socket.write("abcd");
  await vi.waitUntil(() => whole.seen.text === "abcd", PATIENCE);
  whole.socket.end();
  await vi.waitUntil(() => proxy.connections() === 0, PATIENCE);
});

test("a half-closed connection ends for the one who asks", async () => {
  const { proxy, connect } = await openEcho();
  const { socket, seen } = connect();
  socket.write("a");
  await vi.waitUntil(() => seen.text === "a", PATIENCE);
  proxy.halfClose();
  await vi.waitUntil(() => seen.ended, PATIENCE);
});

test("a connection whose end is being sent is closed by a reset, too", async () => {
  const { proxy, connect } = await openEcho();
  const { socket, seen } = connect();
  socket.write("a");
  await vi.waitUntil(() => seen.text === "a", PATIENCE);
  proxy.halfClose();
  proxy.reset();
  await vi.waitUntil(() => {
    socket.write("b");
    return seen.error !== "";
  }, PATIENCE);
});
