import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { promptSegments } from "../../../simulator/metering/prompt-segments.ts";
import { parseCountRequest as parseAtProvider } from "../../../simulator/protocol/request.ts";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun } from "../../test/tenant.ts";
import { createCacheSalt } from "../request/cache-salt.ts";
import { parseMessagesRequest } from "../request/request.ts";
import { clientOf, expectLaws, MODEL, startBoth, startRun } from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

const MARK = { type: "ephemeral" as const };
const LONG = "Everybody uses this text. ".repeat(300);
const TOOL = {
  name: "look",
  description: LONG,
  input_schema: { type: "object" as const, properties: {} },
};
const BASE = { model: MODEL, max_tokens: 50 };

/** Bodies whose cached beginning ends in a different place. */
const bodies = {
  "the system prompt": {
    ...BASE,
    system: [{ type: "text" as const, text: LONG, cache_control: MARK }],
    messages: [{ role: "user" as const, content: "a question" }],
  },
  "the tools": {
    ...BASE,
    tools: [{ ...TOOL, cache_control: MARK }],
    messages: [{ role: "user" as const, content: "a question" }],
  },
  "the tools, the first of them the provider's own": {
    ...BASE,
    tools: [
      { type: "bash_20250124" as const, name: "bash" as const, cache_control: MARK },
      { ...TOOL, cache_control: MARK },
    ],
    messages: [{ role: "user" as const, content: "a question" }],
  },
  "the conversation": {
    ...BASE,
    cache_control: MARK,
    messages: [{ role: "user" as const, content: LONG }],
  },
};

describe.each(Object.entries(bodies))("a cached prompt that ends in %s", (_where, body) => {
  test("is read again by its own workspace, in another run too, and never seen by another one", async () => {
    const { url } = await startBoth(database, { cacheSaltKey: "a key of the test" });
    const first = await startRun(database);
    const usageOf = async (run: { token: string }) =>
      (await clientOf(url, run).messages.create(body)).usage;
    expect(await usageOf(first)).toMatchObject({ cache_read_input_tokens: 0 });
    expect((await usageOf(first)).cache_read_input_tokens).toBeGreaterThan(1_000);
    const later = await claimRun(database.admin, first);
    const other = { ...body, messages: [{ role: "user" as const, content: `${LONG} else` }] };
    if (!("cache_control" in body))
      expect(
        (await clientOf(url, later).messages.create(other)).usage.cache_read_input_tokens,
      ).toBeGreaterThan(1_000);
    const stranger = await startRun(database);
    const seen = await usageOf(stranger);
    expect(seen.cache_read_input_tokens).toBe(0);
    expect(seen.cache_creation_input_tokens).toBeGreaterThan(1_000);
  });

  test("is shared where the salt is switched off, which shows that the test could see it", async () => {
    const { url } = await startBoth(database);
    for (const expected of [0, 1_000]) {
      const run = await startRun(database);
      const { usage } = await clientOf(url, run).messages.create(body);
      expect(usage.cache_read_input_tokens).toBeGreaterThanOrEqual(expected);
    }
  });
});

const saltOf = createCacheSalt("another key");

function sentBy(workspaceId: string, body: object) {
  const parsed = parseMessagesRequest({
    raw: Buffer.from(JSON.stringify(body)),
    beta: undefined,
    version: undefined,
    salt: saltOf(workspaceId),
  });
  if (parsed.status === "refused") throw parsed.error;
  return parsed.request;
}

/** The prefixes that the provider may keep: those that end at a mark. */
function cachedPrefixes(body: object): string[] {
  const parsed = parseAtProvider(body, true);
  if (!parsed.ok) throw new Error(parsed.problem.message);
  const segments = promptSegments(parsed.request);
  return segments.flatMap(({ breakpointTtl }, index) =>
    breakpointTtl === undefined
      ? []
      : [
          segments
            .slice(0, index + 1)
            .map(({ identity }) => identity)
            .join("\n"),
        ],
  );
}

describe("the salt", () => {
  const mark = fc.constantFrom(undefined, MARK);
  const text = fc.record(
    { type: fc.constant("text" as const), text: fc.constantFrom("a", "b"), cache_control: mark },
    { requiredKeys: ["type", "text"] },
  );
  const tool = fc.record(
    {
      name: fc.constantFrom("t1", "t2", "t3"),
      input_schema: fc.constant({ type: "object" }),
      description: fc.constant("d"),
      cache_control: mark,
    },
    { requiredKeys: ["name", "input_schema"] },
  );
  const own = fc.record({
    type: fc.constant("bash_20250124"),
    name: fc.constant("bash"),
    cache_control: mark,
  });
  const request = fc.record(
    {
      model: fc.constant(MODEL),
      max_tokens: fc.constant(100),
      tools: fc.uniqueArray(fc.oneof(tool, own), { selector: ({ name }) => name, maxLength: 4 }),
      system: fc.oneof(fc.constant("s"), fc.array(text, { maxLength: 2 })),
      messages: fc.constant([
        { role: "user", content: [{ type: "text", text: "q", cache_control: MARK }] },
      ]),
    },
    { requiredKeys: ["model", "max_tokens", "messages"] },
  );

  test("leaves no beginning that two workspaces could share, wherever the marks are", () => {
    fc.assert(
      fc.property(request, (body) => {
        const one = cachedPrefixes(JSON.parse(sentBy("ws_1", body).serialise().toString()));
        const two = cachedPrefixes(JSON.parse(sentBy("ws_2", body).serialise().toString()));
        expect(one.length).toBeGreaterThan(0);
        expect(one.filter((prefix) => two.includes(prefix))).toEqual([]);
        const again = cachedPrefixes(JSON.parse(sentBy("ws_1", body).serialise().toString()));
        expect(again).toEqual(one);
      }),
      { numRuns: 1_000 },
    );
  });

  test("is not put into a request that does not use the cache, and is counted where it is", () => {
    const plain = { ...BASE, messages: [{ role: "user", content: "q" }] };
    expect(sentBy("ws_1", plain).serialise().toString()).not.toContain("cache scope");
    expect(sentBy("ws_1", plain).saltTokens).toBe(0);
    const marked = sentBy("ws_1", { ...plain, cache_control: MARK });
    expect(marked.saltTokens).toBeGreaterThanOrEqual(saltOf("ws_1").length);
    expect(JSON.parse(marked.serialise().toString())).toMatchObject({
      system: [{ type: "text", text: saltOf("ws_1") }],
    });
  });

  test("takes a mark out where only the provider's own tools stand before it, and says so", () => {
    const tools = [{ type: "bash_20250124", name: "bash", cache_control: MARK }];
    const { dropped, serialise } = sentBy("ws_1", {
      ...BASE,
      tools,
      messages: [{ role: "user", content: "q" }],
    });
    expect(dropped).toEqual(["tools.cache_control"]);
    expect(JSON.parse(serialise().toString())).toMatchObject({
      tools: [{ type: "bash_20250124", name: "bash" }],
    });
  });

  test("cannot be told from the workspace's id without the installation's key", () => {
    expect(saltOf("ws_1")).not.toBe(createCacheSalt("yet another key")("ws_1"));
    expect(saltOf("ws_1")).not.toBe(saltOf("ws_2"));
  });
});
