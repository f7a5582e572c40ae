import { readdir, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { errorCatalogue } from "./openapi-errors.ts";
import { startTestApi } from "./test/api.ts";

const api = await startTestApi();

type Operation = {
  operationId: string;
  summary: string;
  tags: string[];
  parameters?: { name: string; in: string; required?: boolean }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { content?: Record<string, { schema: { $ref?: string } }> }>;
};
type Document = {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object> };
};

const document = (await (await api.send("GET", "/v1/openapi.json")).json()) as Document;
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

test("the document is OpenAPI 3.1 and every reference in it leads somewhere", () => {
  expect(document.openapi).toBe("3.1.0");
  const text = JSON.stringify(document);
  const names = [...text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map((m) => m[1]!);
  expect(names.length).toBeGreaterThan(10);
  expect([...new Set(names)].filter((name) => !(name in document.components.schemas))).toEqual([]);
  // Nothing refers to another document either.
  expect(text.match(/"\$ref":"(?!#\/)/)).toBeNull();
  expect(Object.keys(document.components.schemas).filter((name) => !names.includes(name))).toEqual(
    [],
  );
});

test("every route has a name of its own, a summary, and schemas for what it takes and answers", () => {
  expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(
    operations.length,
  );
  for (const { path, method, operation } of operations) {
    const where = `${method} ${path}`;
    expect({ where, summary: operation.summary }).toEqual({ where, summary: expect.any(String) });
    expect(operation.tags).toHaveLength(1);
    const good = Object.entries(operation.responses).filter(([status]) => status.startsWith("2"));
    expect({ where, good: good.length }).toEqual({ where, good: 1 });
    for (const [status, response] of good)
      if (status !== "204") expect(Object.keys(response.content ?? {})).toHaveLength(1);
    const problem = operation.responses["default"]?.content?.["application/problem+json"];
    expect(problem?.schema.$ref).toBe("#/components/schemas/Problem");
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const parameters = operation.parameters ?? [];
    expect(parameters.filter((p) => p.in === "path").map((p) => p.name)).toEqual(inPath);
  }
});

test("what validates a request is what the document says: unknown fields are refused, limits are stated", () => {
  const create = document.components.schemas["CreateTaskInput"] as {
    additionalProperties: boolean;
    required: string[];
    properties: { prompt: { maxLength: number } };
  };
  expect(create.additionalProperties).toBe(false);
  expect(create.required.toSorted()).toEqual(["agent", "prompt"]);
  expect(create.properties.prompt.maxLength).toBe(100_000);
  const list = operations.find(({ operation }) => operation.operationId === "listTasks")!;
  const query = list.operation.parameters!.filter((parameter) => parameter.in === "query");
  expect(query.map((parameter) => parameter.name).toSorted()).toEqual([
    "agent",
    "cause",
    "cursor",
    "limit",
    "state",
  ]);
  expect(query.every((parameter) => parameter.required !== true)).toBe(true);
});

test("files travel as what they are, and the header that makes repetition harmless is documented", () => {
  const byId = new Map(operations.map(({ operation }) => [operation.operationId, operation]));
  expect(Object.keys(byId.get("createUpload")!.requestBody!.content)).toEqual([
    "multipart/form-data",
  ]);
  expect(Object.keys(byId.get("getArtifactContent")!.responses["200"]!.content!)).toEqual([
    "application/octet-stream",
  ]);
  expect(byId.get("createTask")!.parameters).toMatchObject([
    { name: "Idempotency-Key", in: "header", required: false },
  ]);
});

test("every code that the API can answer is explained", async () => {
  // Of the platform, what serves requests; the rest speaks to who starts the program.
  const served = /^(?:platform\/(?:http|db|file-store)|identity\/|audit\/|tasks\/)/;
  const codes = new Set<string>();
  for (const folder of ["platform", "identity", "audit", "tasks"])
    for (const name of await readdir(new URL(`${folder}/`, import.meta.url))) {
      const path = `${folder}/${name}`;
      if (!path.endsWith(".ts") || path.endsWith(".test.ts") || !served.test(path)) continue;
      const text = await readFile(new URL(path, import.meta.url), "utf8");
      for (const [, code = ""] of text.matchAll(/code: "([a-z_]+)",\s*status: \d{3}/g))
        codes.add(code);
    }
  expect(codes.size).toBeGreaterThan(20);
  expect([...codes].filter((code) => !(code in errorCatalogue))).toEqual([]);
});
