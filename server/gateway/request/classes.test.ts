import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import { BETAS } from "./betas.ts";
import { DANGEROUS_FIELDS, OPTIONAL_FIELDS } from "./fields.ts";
import { countSchema, messagesSchema } from "./request-schema.ts";
import { parseMessagesRequest } from "./request.ts";
import { TOOL_TYPES } from "./tool-types.ts";

// A feature that the official client learns of has to be looked at before anybody can use it here: these tests fail
// when an update of the client brings one that is in none of the three classes.

async function typesOf(module: string): Promise<string> {
  const path = createRequire(import.meta.url).resolve(`@anthropic-ai/sdk/${module}`);
  return readFile(path.replace(/\.m?js$/, ".d.ts"), "utf8");
}

const beta = await typesOf("resources/beta/messages/messages");
const stable = await typesOf("resources/messages/messages");
const betas = await typesOf("resources/beta/beta");

/** Names of the fields of an interface of the client's types. */
function fieldsOf(source: string, name: string): string[] {
  const start = source.indexOf(`export interface ${name} `);
  expect(start, name).toBeGreaterThanOrEqual(0);
  const text = source.slice(start, source.indexOf("\n}", start));
  return [...text.matchAll(/^ {4}(\w+)\??:/gm)].flatMap(([, field]) => field ?? []);
}

const BASE = {
  model: "claude-sonnet-5-5",
  max_tokens: 2_000,
  messages: [{ role: "user", content: "hi" }],
};

function refusalOf(body: object, header?: string) {
  const parsed = parseMessagesRequest({
    raw: Buffer.from(JSON.stringify(body)),
    beta: header,
    version: undefined,
  });
  return parsed.status === "refused" ? parsed.error : undefined;
}

describe("every feature that the official client knows is priced, optional or dangerous", () => {
  test.each([
    [stable, "MessageCreateParamsBase", messagesSchema],
    [stable, "MessageCountTokensParams", countSchema],
    [beta, "MessageCreateParamsBase", messagesSchema],
    [beta, "MessageCountTokensParams", countSchema],
  ] as const)("fields %#", (source, name, schema) => {
    const fields = fieldsOf(source, name);
    expect(fields.length).toBeGreaterThan(8);
    // Headers that the client calls parameters.
    const headers = new Set(["betas", "user_profile_id", "workspace_id"]);
    for (const field of fields.filter((one) => !headers.has(one)))
      expect(
        [field in schema.shape, OPTIONAL_FIELDS.has(field), field in DANGEROUS_FIELDS],
        field,
      ).toContain(true);
  });

  test("beta headers", () => {
    const known = /export type AnthropicBeta = ([^;]+);/.exec(betas)?.[1] ?? "";
    const names = [...known.matchAll(/'([^']+)'/g)].flatMap(([, name]) => name ?? []);
    expect(names.length).toBeGreaterThan(50);
    expect(names.filter((name) => !(name in BETAS))).toEqual([]);
  });

  test("types of tools", () => {
    const union = /export type BetaToolUnion = ([^;]+);/.exec(beta)?.[1] ?? "";
    const types = union
      .split("|")
      .map((name) => name.trim())
      .filter((name) => name !== "BetaTool")
      .flatMap((name) => {
        const start = beta.indexOf(`export interface ${name} {`);
        const text = beta.slice(start, beta.indexOf("\n}", start));
        const type = /^ {4}type: ([^;]+);/m.exec(text)?.[1] ?? "";
        return [...type.matchAll(/'([^']+)'/g)].flatMap(([, one]) => one ?? []);
      });
    expect(types.length).toBeGreaterThan(25);
    expect(types.filter((type) => !(type in TOOL_TYPES))).toEqual([]);
  });
});

describe("what is dangerous is refused by name, with the reason", () => {
  test.each(Object.entries(DANGEROUS_FIELDS))("the field %s", (field, reason) => {
    const error = refusalOf({ ...BASE, [field]: { any: "thing" } });
    expect(error).toMatchObject({
      status: 400,
      publicMessage: `${field}: not accepted: ${reason}`,
      extensions: { details: { field } },
    });
    expect(refusalOf({ ...BASE, [field]: null })).toBeUndefined();
  });

  test.each(
    Object.entries(BETAS).flatMap(([name, one]) =>
      typeof one === "string" ? [] : [[name, one.refused] as const],
    ),
  )("the beta %s", (name, reason) => {
    expect(refusalOf(BASE, `effort-2025-11-24, ${name}`)).toMatchObject({
      status: 400,
      publicMessage: `anthropic-beta: "${name}" is not accepted: ${reason}`,
      extensions: { details: { field: "anthropic-beta" } },
    });
  });

  test.each(
    Object.entries(TOOL_TYPES).flatMap(([type, one]) =>
      one === "client" ? [] : [[type, one.refused] as const],
    ),
  )("tools of type %s", (type, reason) => {
    const own = { name: "mine", input_schema: { type: "object" } };
    expect(refusalOf({ ...BASE, tools: [own, { type, name: "theirs" }] })).toMatchObject({
      status: 400,
      publicMessage: `tools.1: tools of type "${type}" are not accepted: ${reason}`,
      extensions: { details: { field: "tools.1" } },
    });
  });

  test("an unknown one of each kind", () => {
    expect(refusalOf({ ...BASE, brand_new: 1 })?.publicMessage).toContain("brand_new: ");
    expect(refusalOf(BASE, "brand-new-2027-01-01")?.publicMessage).toContain("brand-new-2027");
    const tools = [{ type: "brand_new_20270101", name: "x" }];
    expect(refusalOf({ ...BASE, tools })?.publicMessage).toContain("brand_new_20270101");
    const named = [{ type: "constructor", name: "x" }];
    expect(refusalOf({ ...BASE, tools: named })?.publicMessage).toContain('"constructor"');
  });
});
