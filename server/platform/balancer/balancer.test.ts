import {
  createServer,
  type IncomingMessage,
  request as send,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { type Balancer, createBalancer } from "./balancer.ts";

/** A busy machine takes its time. */
const until = (look: () => boolean | Promise<boolean>) => vi.waitUntil(look, 20_000);

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

type Server = { origin: string; ready: boolean; asked: string[]; close(): Promise<void> };

/** A server that says its name; `/readyz` as told. */
async function startServer(handler: Handler = () => {}): Promise<Server> {
  const state = { origin: "", ready: true, asked: [] as string[] };
  const server = createServer((request, response) => {
    if (request.url === "/readyz") {
      response.writeHead(state.ready ? 200 : 503, { connection: "close" }).end();
      return;
    }
    state.asked.push(`${request.method} ${request.url}`);
    handler(request, response);
  });
  const upgraded: Socket[] = [];
  server.on("upgrade", (_request, socket: Socket, head: Buffer) => {
    upgraded.push(socket);
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    socket.write(head);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  state.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    for (const socket of upgraded) socket.destroy();
    await closed;
  };
  onTestFinished(close);
  return Object.assign(state, { close });
}

async function startBalancer(
  servers: readonly Server[],
  waitMs = 20_000,
): Promise<Balancer & { url: string }> {
  const balancer = createBalancer({
    probeEveryMs: 20,
    waitMs,
    renderFailure: (status) => ({ contentType: "text/plain", body: `failed ${status}` }),
  });
  for (const { origin } of servers) balancer.add(origin);
  const { port } = await balancer.listen({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => balancer.close());
  return { ...balancer, url: `http://127.0.0.1:${port}` };
}

const ok: Handler = (_request, response) => void response.end("ok");
const dies: Handler = (request) => void request.socket.destroy();

test("requests go to the servers in turn, with their bodies, fields and the client's address, and answers come back as they are", async () => {
  const echo: Handler = (request, response) => {
    response.writeHead(207, "Several", [
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
      ["x-from", String(request.headers["x-forwarded-for"])],
      ["x-host", String(request.headers.host)],
      ["x-twice", String(request.headers["x-twice"])],
    ] as never);
    request.pipe(response);
  };
  const servers = [await startServer(echo), await startServer(echo)];
  const balancer = await startBalancer(servers);
  const body = "x".repeat(300_000);
  for (let n = 0; n < 4; n++) {
    const headers = { "x-forwarded-for": "203.0.113.9", "x-twice": "1" };
    const response = await fetch(`${balancer.url}/a?b=${n}`, { method: "POST", body, headers });
    expect(response.status).toBe(207);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect(response.headers.get("x-from")).toBe("203.0.113.9, 127.0.0.1");
    expect(response.headers.get("x-host")).toBe(new URL(balancer.url).host);
    expect(await response.text()).toBe(body);
  }
  expect(servers.map(({ asked }) => asked.length)).toEqual([2, 2]);
});

test("a body of unknown length arrives whole, and a stream is passed on while it is written", async () => {
  let finish = (): void => {};
  const server = await startServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      response.write(text);
      finish = () => response.end(" end");
    });
  });
  const balancer = await startBalancer([server]);
  const answer = await new Promise<IncomingMessage>((resolve) => {
    const asked = send(`${balancer.url}/stream`, { method: "POST" }, resolve);
    asked.write("one ");
    asked.end("two");
  });
  let seen = "";
  answer.on("data", (chunk: Buffer) => (seen += chunk.toString()));
  await until(() => seen === "one two");
  finish();
  await until(() => seen === "one two end");
});

test("a server that is not ready, not there or removed gets nothing, and everything when it is back", async () => {
  const [draining, gone, good] = [
    await startServer(ok),
    await startServer(ok),
    await startServer(ok),
  ];
  const balancer = await startBalancer([draining, gone, good]);
  draining.ready = false;
  await gone.close();
  const all = () => draining.asked.length + gone.asked.length;
  await until(async () => {
    const before = all();
    for (let n = 0; n < 6; n++) expect((await fetch(balancer.url)).status).toBe(200);
    return all() === before;
  });
  draining.ready = true;
  good.ready = false;
  await until(async () => {
    const before = draining.asked.length;
    await fetch(balancer.url);
    return draining.asked.length > before;
  });
  balancer.remove(draining.origin);
  good.ready = true;
  const before = draining.asked.length;
  for (let n = 0; n < 4; n++) expect((await fetch(balancer.url)).status).toBe(200);
  expect(draining.asked.length).toBe(before);
});

test("what may be asked twice goes to another server when one ends without an answer; what may not is told to be lost, and asked once", async () => {
  const [bad, good] = [await startServer(dies), await startServer(ok)];
  const balancer = await startBalancer([bad, good]);
  for (let n = 0; n < 6; n++) expect((await fetch(`${balancer.url}/read`)).status).toBe(200);
  expect(bad.asked.length).toBeGreaterThan(0);
  await until(async () => {
    const response = await fetch(`${balancer.url}/write`, { method: "POST", body: "once" });
    if (response.status === 200) return false;
    expect(response.status).toBe(502);
    expect(await response.text()).toBe("failed 502");
    return true;
  });
  const writes = [...bad.asked, ...good.asked].filter((asked) => asked === "POST /write");
  expect(bad.asked.filter((asked) => asked === "POST /write")).toHaveLength(1);
  expect(writes.length).toBeGreaterThanOrEqual(1);
});

test("a write reaches a server although another one refuses connections", async () => {
  const [gone, good] = [await startServer(ok), await startServer(ok)];
  const balancer = await startBalancer([gone, good]);
  await gone.close();
  for (let n = 0; n < 5; n++) {
    const response = await fetch(`${balancer.url}/write`, { method: "POST", body: "x" });
    expect(response.status).toBe(200);
  }
  expect(good.asked).toHaveLength(5);
});

test("without any server it says so, and a request that waits is answered by the first one that comes", async () => {
  const balancer = await startBalancer([], 500);
  const response = await fetch(balancer.url);
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("1");
  expect(await response.text()).toBe("failed 503");
  const patient = await startBalancer([]);
  const waiting = fetch(patient.url);
  patient.add((await startServer(ok)).origin);
  expect((await waiting).status).toBe(200);
});

test("an answer that breaks off does not look whole, and a client that leaves is told to the server", async () => {
  const closed: string[] = [];
  const server = await startServer((request, response) => {
    response.on("close", () => closed.push(request.url ?? ""));
    response.writeHead(200, { "content-length": "100" });
    response.write("half");
    if (request.url === "/breaks") response.socket?.destroySoon();
  });
  const balancer = await startBalancer([server]);
  await expect(fetch(`${balancer.url}/breaks`).then((r) => r.text())).rejects.toThrow();
  const leaving = new AbortController();
  const response = await fetch(`${balancer.url}/left`, { signal: leaving.signal });
  expect(response.status).toBe(200);
  leaving.abort();
  await until(() => closed.includes("/left"));
});

test("a socket is passed through in both directions, and ends with its server", async () => {
  const server = await startServer();
  const balancer = await startBalancer([server]);
  const { port } = new URL(balancer.url);
  const socket = connect(Number(port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  let seen = "";
  socket.on("data", (chunk: Buffer) => (seen += chunk.toString()));
  socket.write(
    "GET /v1/socket HTTP/1.1\r\nHost: here\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nfirst ",
  );
  await until(() => seen.includes("first"));
  socket.write("second");
  await until(() => seen.endsWith("first second"));
  const ended = new Promise((resolve) => socket.once("close", resolve));
  await server.close();
  await ended;
});
