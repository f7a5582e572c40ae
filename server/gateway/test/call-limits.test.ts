import Anthropic from "@anthropic-ai/sdk";
import { afterEach, expect, it } from "vitest";
import { createRequestLimits } from "../../platform/request-limits.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  clientOf,
  expectLaws,
  holdsOf,
  post,
  SMALL,
  startBoth,
  startRun,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterEach(() => expectLaws(database));

const limitsOf = (changes: string) => createRequestLimits({ RATE_LIMITS: changes });
type ErrorBody = { type: string; error: { type: string; code: string; message: string } };

it("one token has a limit of calls; beyond it 429 in the protocol's shape, with a time to wait and no hold", async () => {
  const { url } = await startBoth(database, { requestLimits: limitsOf("gateway_token=2/60") });
  const run = await startRun(database);
  const client = clientOf(url, run);
  await client.messages.create(SMALL);
  await client.messages.create(SMALL);
  const refused = await client.messages.create(SMALL).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Anthropic.RateLimitError);
  const answer = await post(url, { token: run.token, body: SMALL });
  expect(answer.status).toBe(429);
  expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(answer.headers.get("ratelimit-policy")).toBe('"gateway_token";q=2;w=60');
  expect(answer.headers.get("ratelimit")).toMatch(/^"gateway_token";r=0;t=\d+$/);
  const body = (await answer.json()) as ErrorBody;
  expect(body).toMatchObject({
    type: "error",
    error: { type: "rate_limit_error", code: "rate_limited" },
  });
  expect(await holdsOf(database, run)).toHaveLength(2);
  const other = await startRun(database);
  await clientOf(url, other).messages.create(SMALL);
});

it("who tries tokens is stopped before the database is asked, and a run at the same address goes on", async () => {
  let asked = 0;
  const { url } = await startBoth(database, {
    requestLimits: limitsOf("gateway_failed=3/60"),
    ledger: (ledger) => ({
      ...ledger,
      reserve(request) {
        asked++;
        return ledger.reserve(request);
      },
    }),
  });
  const run = await startRun(database);
  await clientOf(url, run).messages.create(SMALL);
  const guess = (n: number) =>
    post(url, { token: run.token.replace(/.{43}$/, String(n).padStart(43, "x")), body: SMALL });
  for (let n = 0; n < 3; n++) expect((await guess(n)).status).toBe(401);
  const before = asked;
  expect((await guess(4)).status).toBe(429);
  expect((await post(url, { token: "no token at all", body: SMALL })).status).toBe(429);
  expect(asked).toBe(before);
  await clientOf(url, run).messages.create(SMALL);
});

it("who goes on after 429 loses the connection", async () => {
  const { url } = await startBoth(database, {
    requestLimits: limitsOf("gateway_failed=1/60, gateway_flood=2/60"),
  });
  const answers = [];
  for (let n = 0; n < 5; n++) answers.push(await post(url, { token: "junk", body: SMALL }));
  expect(answers.map(({ status }) => status)).toEqual([401, 429, 429, 429, 429]);
  expect(answers[1]!.headers.get("connection")).not.toBe("close");
  expect(answers[4]!.headers.get("connection")).toBe("close");
});
