import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { createClient } from "./client.ts";
import { ConnectionError, GuildhallError } from "./errors.ts";
import { retryPauseMs } from "./http.ts";

type Seen = { method: string; url: string; headers: IncomingMessage["headers"]; body: string };
type Answer = (response: ServerResponse, seen: Seen) => void;

/** A server that gives one answer after the other, the last one for ever, and remembers what it was asked. */
async function serve(...answers: Answer[]): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { method = "", url = "", headers } = request;
      const asked: Seen = { method, url, headers, body };
      seen.push(asked);
      answers[Math.min(seen.length, answers.length) - 1]?.(response, asked);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response
      .writeHead(status, { "content-type": "application/json", ...headers })
      .end(JSON.stringify(body));

const PROBLEM = {
  type: "/docs/errors#agent_not_found",
  title: "Bad Request",
  status: 400,
  code: "agent_not_found",
  detail: "There is no such agent in this workspace.",
  hint: "The agents are: gray.",
  errors: [{ field: "agent", message: "There is no such agent." }],
  request_id: "req_1",
};
const unavailable = (headers: Record<string, string> = {}): Answer =>
  json(503, { ...PROBLEM, status: 503, code: "database_unavailable" }, headers);
const cutOff: Answer = (response) => response.destroy();

const TASK = { agent: "gray", prompt: "Look around" };

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test("creating is repeated with the same idempotency key and body until it is answered", async () => {
  const { url, seen } = await serve(
    cutOff,
    unavailable({ "retry-after": "0" }),
    json(201, { id: "task_1" }),
  );
  const client = createClient({ baseUrl: url, token: "ghk_1" });
  expect(await client.tasks.create(TASK)).toEqual({ id: "task_1" });
  expect(seen).toHaveLength(3);
  const keys = new Set(seen.map(({ headers }) => headers["idempotency-key"]));
  expect(keys.size).toBe(1);
  expect([...keys][0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(new Set(seen.map(({ body }) => body))).toEqual(new Set([JSON.stringify(TASK)]));
  expect(seen[0]?.headers.authorization).toBe("Bearer ghk_1");

  await client.tasks.create(TASK);
  expect(seen[3]?.headers["idempotency-key"]).not.toBe([...keys][0]);
  await client.tasks.create(TASK, "mine");
  expect(seen[4]?.headers["idempotency-key"]).toBe("mine");
});

test("what could have a second effect is sent once", async () => {
  const { url, seen } = await serve(unavailable({ "retry-after": "0" }));
  const client = createClient({ baseUrl: url, token: "t" });
  await expect(client.questions.answer("q_1", "yes")).rejects.toMatchObject({ status: 503 });
  expect(seen).toHaveLength(1);
});

const NOW_MS = Date.parse("2026-11-23T10:00:00Z");

test.for<[retryAfter: string | null, failedTries: number, pauseMs: number | undefined]>([
  ["0", 1, 0],
  ["3", 1, 3_000],
  [" 3 ", 2, 3_000],
  ["20", 1, 20_000],
  ["21", 1, undefined],
  ["Mon, 23 Nov 2026 10:00:05 GMT", 1, 5_000],
  ["Mon, 23 Nov 2026 09:59:55 GMT", 1, 0],
  [null, 1, 400],
  [null, 2, 800],
  ["", 1, 400],
  ["soon", 1, 400],
  [null, 40, 20_000],
])(
  "after %j and %i failed tries the next one comes %s ms later",
  ([retryAfter, failedTries, pauseMs]) => {
    expect(retryPauseMs({ retryAfter, failedTries, nowMs: NOW_MS })).toBe(pauseMs);
  },
);

test("who is asked to wait for longer than a caller waits is told at once, with for how long", async () => {
  const { url, seen } = await serve(
    json(429, { ...PROBLEM, status: 429 }, { "retry-after": "3087" }),
  );
  const error = await failureOf(createClient({ baseUrl: url, token: "t" }).usage());
  expect(error).toMatchObject({ status: 429, retryAfterMs: 3_087_000 });
  expect(seen).toHaveLength(1);
});

test("reads are given up after the agreed number of tries, with the last answer", async () => {
  const { url, seen } = await serve(unavailable({ "retry-after": "0" }));
  const client = createClient({ baseUrl: url, token: "t", tries: 2 });
  await expect(client.usage()).rejects.toMatchObject({ code: "database_unavailable" });
  expect(seen).toHaveLength(2);
});

test.for([400, 401, 402, 404, 409, 422, 500])("%i is not repeated", async (status) => {
  const { url, seen } = await serve(json(status, { ...PROBLEM, status }));
  await expect(createClient({ baseUrl: url, token: "t" }).usage()).rejects.toMatchObject({
    status,
  });
  expect(seen).toHaveLength(1);
});

test("a refusal is an error with the whole problem document", async () => {
  const { url } = await serve(json(400, PROBLEM));
  const error = await failureOf(createClient({ baseUrl: url, token: "t" }).tasks.create(TASK));
  expect(error).toBeInstanceOf(GuildhallError);
  expect(error).toMatchObject({ status: 400, code: "agent_not_found", problem: PROBLEM });
  expect((error as Error).message).toBe(PROBLEM.detail);
});

test.for<[what: string, answer: Answer]>([
  ["a proxy's page", (response) => response.writeHead(404).end("<h1>Not here</h1>")],
  ["JSON of somebody else", json(404, { error: "no" })],
  ["nothing", (response) => response.writeHead(404).end()],
])("%s instead of a problem document becomes one", async ([, answer]) => {
  const { url } = await serve(answer);
  const error = await failureOf(createClient({ baseUrl: url, token: "t" }).tasks.get("task_1"));
  expect(error).toBeInstanceOf(GuildhallError);
  expect(error).toMatchObject({ status: 404, code: "unexpected_answer" });
});

test("a success that is no answer of Guildhall is told as such", async () => {
  const { url } = await serve((response) =>
    response.writeHead(200, { "content-type": "text/html" }).end("<h1>Welcome</h1>"),
  );
  const error = await failureOf(createClient({ baseUrl: url, token: "t" }).usage());
  expect(error).toBeInstanceOf(ConnectionError);
  expect((error as Error).message).toContain(url);
});

test("a server that is not there is named", async () => {
  const error = await failureOf(
    createClient({ baseUrl: "http://127.0.0.1:1", token: "t", tries: 1 }).me(),
  );
  expect(error).toBeInstanceOf(ConnectionError);
  expect((error as Error).message).toContain("http://127.0.0.1:1");
});

test("an abort ends a request in flight, and a pause between two tries, at once and for good", async () => {
  const inFlight = new AbortController();
  const silent = await serve(() => inFlight.abort());
  const silentClient = createClient({ baseUrl: silent.url, token: "t" });
  const first = silentClient.tasks.events("task_1", { after: 0, signal: inFlight.signal });
  await expect(first).rejects.toMatchObject({ name: "AbortError" });

  // An answer without an end, which the client leaves when it begins to wait; longer than this test may take.
  const inPause = new AbortController();
  const busy = await serve((response) => {
    response.once("close", () => inPause.abort());
    response.writeHead(503, { "retry-after": "20" }).write("{");
  });
  const busyClient = createClient({ baseUrl: busy.url, token: "t" });
  const second = busyClient.tasks.events("task_1", { after: 0, signal: inPause.signal });
  await expect(second).rejects.toMatchObject({ name: "AbortError" });
  expect([silent.seen.length, busy.seen.length]).toEqual([1, 1]);
}, 10_000);

test("the token is asked for before each try, so that an expired one is replaced", async () => {
  const { url, seen } = await serve(unavailable({ "retry-after": "0" }), json(200, {}));
  let count = 0;
  await createClient({ baseUrl: url, token: () => `token_${++count}` }).me();
  expect(seen.map(({ headers }) => headers.authorization)).toEqual([
    "Bearer token_1",
    "Bearer token_2",
  ]);
});

test("an id cannot lead to another address", async () => {
  const { url, seen } = await serve(json(200, {}));
  await createClient({ baseUrl: url, token: "t" }).tasks.get("../me?x=1#y");
  expect(seen[0]?.url).toBe("/v1/tasks/..%2Fme%3Fx%3D1%23y");
});

test("files of an upload keep their folders", async () => {
  const { url, seen } = await serve(json(201, { id: "upl_1" }));
  const client = createClient({ baseUrl: url, token: "t" });
  await client.uploads.create([{ path: "2026/a.csv", data: new Blob(["x,y"]) }]);
  expect(seen[0]?.headers["content-type"]).toMatch(/^multipart\/form-data; boundary=/);
  expect(seen[0]?.body).toContain('filename="2026/a.csv"');
});
