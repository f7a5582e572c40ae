import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { AppError } from "./errors.ts";
import { createHttp } from "./http.ts";
import { createLogger } from "./log.ts";
import { problemSchema } from "@guildhall/sdk/contract/problem.ts";

const app = await createHttp({
  log: createLogger({ level: "silent" }),
  config: { PUBLIC_URL: undefined },
});
const itemSchema = z.strictObject({
  name: z.string().min(1),
  size: z.strictObject({ width: z.int(), height: z.int() }).optional(),
});
app.post("/items", { schema: { body: itemSchema } }, (request) => Promise.resolve(request.body));
app.get(
  "/items/:id",
  { schema: { querystring: z.strictObject({ at: z.coerce.number() }) } },
  () => ({}),
);
app.get("/busy", () => {
  throw new AppError({
    code: "busy",
    status: 503,
    publicMessage: "Busy.",
    internal: "the pool of db.internal is empty",
    retryable: true,
    retryAfterMs: 2_500,
  });
});
app.get("/broken", () => {
  throw new TypeError("secret detail of the inside");
});
app.get("/wrong-answer", { schema: { response: { 200: z.object({ n: z.int() }) } } }, () => {
  const answer: unknown = { n: "secret text" };
  return Promise.resolve(answer as { n: number });
});

let base: string;
beforeAll(async () => {
  base = await app.listen({ port: 0, host: "127.0.0.1" });
});
afterAll(() => app.close());

async function problemOf(response: Response) {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const body = problemSchema.strict().parse(await response.json());
  expect(body.status).toBe(response.status);
  expect(body.request_id).toBe(response.headers.get("x-request-id"));
  return body;
}
const post = (body: string, type = "application/json") =>
  fetch(`${base}/items`, { method: "POST", headers: { "content-type": type }, body });

test("every answer carries a request id of the server's own making", async () => {
  const response = await fetch(`${base}/items/1?at=1`, { headers: { "x-request-id": "mine" } });
  expect(response.status).toBe(200);
  expect(response.headers.get("x-request-id")).toMatch(/^req_[0-9a-z]{26}$/);
});

test("every offending field is named, unknown ones too", async () => {
  const response = await post(`{"name":"","colour":"red","size":{"width":"1","depth":2}}`);
  expect(response.status).toBe(400);
  const problem = await problemOf(response);
  expect(problem.code).toBe("validation_failed");
  expect(problem.errors?.map((error) => error.field).toSorted()).toEqual([
    "colour",
    "name",
    "size.depth",
    "size.height",
    "size.width",
  ]);
});

test("a query is validated like a body", async () => {
  const response = await fetch(`${base}/items/1?at=soon&depth=1`);
  expect((await problemOf(response)).errors?.map((error) => error.field).toSorted()).toEqual([
    "at",
    "depth",
  ]);
});

test.each([
  ["no JSON", "{", 400, "invalid_json"],
  ["__proto__", '{"name":"a","__proto__":{"admin":true}}', 400, "invalid_json"],
  [
    "a nested constructor",
    '{"name":"a","size":{"constructor":{"prototype":{}}}}',
    400,
    "invalid_json",
  ],
  ["nothing", "", 400, "validation_failed"],
  ["an array", "[]", 400, "validation_failed"],
  ["more than 1 MB", `{"name":"${"a".repeat(1024 * 1024)}"}`, 413, "body_too_large"],
  ["deep nesting", "[".repeat(400_000) + "]".repeat(400_000), 400, "validation_failed"],
  ["a NUL character", '{"name":"a\\u0000b"}', 400, "validation_failed"],
  ["half a surrogate pair", '{"name":"\\ud800"}', 400, "validation_failed"],
])("a body of %s is refused with a problem", async (_title, body, status, code) => {
  const response = await post(body);
  expect(response.status).toBe(status);
  expect((await problemOf(response)).code).toBe(code);
});

test.each(["text/plain", "application/x-www-form-urlencoded", "application/xml"])(
  "%s is not JSON, even when it looks like it",
  async (type) => {
    const response = await post('{"name":"a"}', type);
    expect(response.status).toBe(415);
    expect((await problemOf(response)).code).toBe("unsupported_media_type");
  },
);

test("an unknown address is 404, a known one with another method 405 with what it answers", async () => {
  expect((await problemOf(await fetch(`${base}/nothing`))).code).toBe("not_found");
  const response = await fetch(`${base}/items`, { method: "DELETE" });
  expect(response.status).toBe(405);
  expect(response.headers.get("allow")).toBe("POST");
  expect((await problemOf(response)).code).toBe("method_not_allowed");
});

test("a malformed address is a problem too", async () => {
  const response = await fetch(`${base}/items/%zz`);
  expect(response.status).toBe(400);
  expect((await problemOf(response)).code).toBe("bad_url");
});

test("a retryable error says when to come back and nothing of its inside", async () => {
  const response = await fetch(`${base}/busy`);
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("3");
  expect(JSON.stringify(await problemOf(response))).not.toContain("db.internal");
});

test.each(["/broken", "/wrong-answer"])("%s: a bug answers 500 without details", async (path) => {
  const response = await fetch(`${base}${path}`);
  expect(response.status).toBe(500);
  const problem = await problemOf(response);
  expect(problem.code).toBe("internal_error");
  expect(JSON.stringify(problem)).not.toContain("secret");
});

test("what is not HTTP is refused on the connection", async () => {
  const socket = connect(Number(new URL(base).port), "127.0.0.1");
  socket.write("nonsense\r\n\r\n");
  const answer = await text(socket);
  expect(answer).toContain("HTTP/1.1 400");
  expect(answer).toContain('"code":"bad_request"');
});

test("pages may load nothing inline and nothing from elsewhere", async () => {
  const { headers } = await fetch(`${base}/items/1?at=1`);
  const policy = headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self';");
  expect(policy).not.toContain("unsafe");
  expect(policy).not.toContain("http");
  expect(headers.get("x-content-type-options")).toBe("nosniff");
  expect(headers.get("strict-transport-security")).toBeNull();
  expect(headers.get("access-control-allow-origin")).toBeNull();
});
