import { afterAll, describe, expect, test } from "vitest";
import { inputTokensOf, promptSegments } from "../../../simulator/metering/prompt-segments.ts";
import { parseCountRequest as parseAtProvider } from "../../../simulator/protocol/request.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createRunMemory } from "../budget/run-memory.ts";
import { BETAS } from "../request/betas.ts";
import { OPTIONAL_FIELDS } from "../request/fields.ts";
import { parseCountRequest, parseMessagesRequest } from "../request/request.ts";
import { expectLaws, post, quiet, startBoth, startRun } from "../test/gateway-fixture.ts";
import { isCountCall, isMessagesCall, readRecorded, type Recorded } from "./recorded.ts";
import type { RecordedRequest } from "./scrub.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

const recorded = await readRecorded();
const only = (which: (request: RecordedRequest) => boolean) =>
  recorded.flatMap(({ client, name, requests }: Recorded) =>
    requests
      .filter(which)
      .map((request, index) => ({ title: `${client}: ${name} ${index + 1}`, request })),
  );
type Body = Record<string, unknown>;
const threads = ({ body }: RecordedRequest) => (body as Body | null)?.["thread"] !== undefined;
const messages = only((request) => isMessagesCall(request) && !threads(request));
const counts = only(isCountCall);
const all = [...messages, ...counts];

function parse(request: RecordedRequest, salt?: string) {
  const input = {
    raw: Buffer.from(JSON.stringify(request.body)),
    beta: request.headers["anthropic-beta"],
    version: request.headers["anthropic-version"],
    salt,
  };
  const parsed = isCountCall(request) ? parseCountRequest(input) : parseMessagesRequest(input);
  if (parsed.status === "refused") throw parsed.error;
  return parsed.request;
}

function betasOf(request: RecordedRequest): string[] {
  const header = request.headers["anthropic-beta"];
  return header === undefined ? [] : [...new Set(header.split(","))];
}

/** What the simulated provider counts for a body, whatever else stands in it. */
function countedAtProvider(body: unknown): number {
  const parsed = parseAtProvider(body, true);
  if (!parsed.ok) throw new Error(parsed.problem.message);
  return inputTokensOf(promptSegments(parsed.request));
}

describe("what the official clients send", () => {
  test("was recorded from each of them, with and without streams, tools, thinking, images and cache marks", () => {
    expect(new Set(recorded.map(({ client }) => client.split(" ")[0])).size).toBe(4);
    const text = JSON.stringify(messages);
    for (const part of [
      '"stream":true',
      '"tools":[{',
      '"type":"adaptive"',
      '"budget_tokens"',
      '"type":"thinking"',
      '"type":"image"',
      '"cache_control"',
      '"ttl":"1h"',
      '"json_schema"',
      '"context_management"',
      '"task_budget"',
      '"defer_loading":true',
      '"role":"system"',
    ])
      expect(text).toContain(part);
    expect(counts.length).toBeGreaterThan(10);
  });

  test("tells nothing about the machine on which it was recorded", () => {
    const text = JSON.stringify(recorded);
    expect(text).not.toMatch(/\/(?:home|root|tmp|Users)\/|authorization|x-api-key/i);
    expect(text).not.toMatch(/[1-9a-f][0-9a-f]{7}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-/);
  });

  test.each(all)("is accepted, and what is taken out of it is named: $title", ({ request }) => {
    const { dropped, betas } = parse(request);
    const body = request.body as Body;
    const optional = Object.keys(body).filter((name) => OPTIONAL_FIELDS.has(name));
    const forced = body["service_tier"] === "auto" ? ["service_tier"] : [];
    const droppedBetas = betasOf(request).filter((name) => BETAS[name] === "optional");
    expect(dropped).toEqual([...optional, ...forced, ...droppedBetas]);
    expect(betas).toEqual(betasOf(request).filter((name) => BETAS[name] === "priced"));
    expect([...betas, ...droppedBetas].toSorted()).toEqual(betasOf(request).toSorted());
  });

  test.each(all)("is sent on in its own key order: $title", ({ request }) => {
    const sent = parse(request).serialise().toString();
    const body = structuredClone(request.body) as Body;
    for (const name of OPTIONAL_FIELDS) delete body[name];
    const pinned = JSON.parse(sent) as Body;
    const expected = isCountCall(request)
      ? body
      : {
          ...body,
          service_tier: "standard_only",
          ...(pinned["inference_geo"] === undefined ? {} : { inference_geo: "global" }),
        };
    expect(sent).toBe(JSON.stringify(expected));
  });

  test.each(all)("is never counted above its bound: $title", ({ request }) => {
    for (const salt of [undefined, "[cache scope 0123456789ab]"]) {
      const parsed = parse(request, salt);
      const bound = createRunMemory().bound("run_1", parsed);
      const sent: unknown = JSON.parse(parsed.serialise().toString());
      expect(bound).toBeGreaterThanOrEqual(countedAtProvider(sent));
    }
  });

  test("is answered over HTTP, and charged to the last digit what the provider's meter says", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database, { costLimitNanoUsd: 900_000_000_000_000 });
    for (const { title, request } of all) {
      const response = await post(url, {
        token: run.token,
        body: request.body,
        path: request.path,
        headers: request.headers,
      });
      expect([title, response.status, await response.text()]).toEqual([
        title,
        200,
        expect.any(String),
      ]);
    }
    const holds = await quiet(database, run);
    const { calls } = simulator.meter.report();
    expect(holds).toHaveLength(messages.length);
    expect(holds.map(({ state }) => state)).toEqual(messages.map(() => "SETTLED"));
    expect(holds.map(({ posted }) => posted)).toEqual(calls.map((call) => call.cost_nano_usd));
  });
});
