import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { followEvents, paceMs } from "./follow-events.ts";
import { createHttp } from "./http.ts";

type Answer = (response: ServerResponse) => void;

/** A server that gives one answer after the other, the last one for ever; and what a reader of task_1 makes of it. */
async function follow(answers: Answer[], after = 0) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    answers[Math.min(asked.length, answers.length) - 1]?.(response);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const http = createHttp({
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: "t",
  });
  const waits: number[] = [];
  const wait = async (ms: number) => void waits.push(ms);
  const told: number[] = [];
  const reading = (async () => {
    for await (const event of followEvents({ http, taskId: "task_1", after, wait }))
      told.push(event.seq);
  })();
  const failure = await reading.then(
    () => undefined,
    (error: unknown) => error,
  );
  return { told, asked, waits, failure };
}

const task = (seq: number): string =>
  `id: ${seq}\nevent: task_event\ndata: {"seq":${seq},"data":{"text":"ü\\n"}}\n\n`;
const end = (seq: number): string => `event: end\ndata: {"last_seq":${seq}}\n\n`;
/** Sends the text byte by byte, so that no frame and no character comes in one piece. */
const stream =
  (text: string): Answer =>
  (response) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    for (const byte of Buffer.from(text)) response.write(Buffer.from([byte]));
    response.end();
  };
const page =
  (seqs: number[], closed: boolean, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response
      .writeHead(200, { "content-type": "application/json", ...headers })
      .end(
        JSON.stringify({ data: seqs.map((seq) => ({ seq })), closed, last_seq: seqs.at(-1) ?? 0 }),
      );
const refusal =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).end("no");

test("a task is followed to its end by one request", async () => {
  const { told, asked, failure } = await follow(
    [stream(`: here\n\n${task(3)}:\n\n${task(4)}${end(4)}`)],
    2,
  );
  expect(failure).toBeUndefined();
  expect(told).toEqual([3, 4]);
  expect(asked).toEqual(["/v1/tasks/task_1/events/stream?after=2"]);
});

test("a stream that breaks off, in the middle of an event too, goes on where it was, without a gap or a repetition", async () => {
  const { told, asked } = await follow([
    stream(task(1) + task(2) + task(3).slice(0, -2)),
    stream(task(2) + task(3) + end(3)),
  ]);
  expect(told).toEqual([1, 2, 3]);
  expect(asked.map((url) => url.split("?")[1])).toEqual(["after=0", "after=2"]);
});

test("where streams do not come through, pages are read ever more slowly, at once again after news", async () => {
  const { told, asked, waits } = await follow([
    page([], false),
    page([1, 2], false),
    page([], false),
    page([], false),
    page([], false),
    page([3], true),
  ]);
  expect(told).toEqual([1, 2, 3]);
  expect(asked.at(-1)).toBe("/v1/tasks/task_1/events?after=2&wait_ms=20000");
  expect(waits).toEqual([2_000, 4_000, 8_000, 16_000]);
});

test("a stream that is cut off again and again before anything came is given up for pages", async () => {
  const { told, asked } = await follow([
    stream(": here\n\n"),
    stream(""),
    stream(": here\n\n"),
    page([1], true),
  ]);
  expect(told).toEqual([1]);
  expect(asked.filter((url) => url.includes("/stream"))).toHaveLength(3);
});

test("a used-up quota is waited out as long as the server asks, for an hour too", async () => {
  const { told, waits } = await follow([
    refusal(429, { "retry-after": "3500" }),
    refusal(503),
    stream(task(1) + end(1)),
  ]);
  expect(told).toEqual([1]);
  expect(waits).toEqual([3_500_000, 1_000]);
});

test("pages are spread over the window once half of the quota is used", async () => {
  const { waits } = await follow([
    page([], false),
    page([1], false, {
      "ratelimit-policy": '"user";q=600;w=60, "api_requests";q=100;w=3600',
      ratelimit: '"user";r=599;t=60, "api_requests";r=49;t=700',
    }),
    page([2], true),
  ]);
  expect(waits).toEqual([36_000]);
});

test.for<[ratelimit: string, ms: number]>([
  ['"api_requests";r=50;t=700', 0],
  ['"api_requests";r=0;t=700', 700_000],
  ['"other";r=0', 0],
  ["nonsense;;=", 0],
  ["", 0],
])("RateLimit %j leaves %i ms between requests", ([ratelimit, ms]) => {
  const headers = new Headers({ "ratelimit-policy": '"api_requests";q=100;w=3600', ratelimit });
  expect(paceMs(headers)).toBe(ms);
});

test.for([401, 403, 404])("%i ends the following", async (status) => {
  const { failure, asked } = await follow([refusal(status)]);
  expect(failure).toMatchObject({ name: "GuildhallError", status });
  expect(asked).toHaveLength(1);
});

test("a server that is away for good is told after some tries, in the middle of a task too", async () => {
  const { failure, told, waits } = await follow([
    (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(task(1));
    },
    (response) => response.destroy(),
  ]);
  expect(told).toEqual([1]);
  expect(failure).toMatchObject({ name: "ConnectionError" });
  expect(waits).toEqual([500, 500, 1_000, 2_000, 4_000]);
});
