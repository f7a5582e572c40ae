import swagger from "@fastify/swagger";
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
} from "fastify-type-provider-zod";
import { z } from "zod";
import { alertListSchema, alertSchema } from "@guildhall/sdk/contract/alert.ts";
import { eventListSchema, eventSchema } from "@guildhall/sdk/contract/event.ts";
import * as limit from "@guildhall/sdk/contract/limit.ts";
import { planSchema } from "@guildhall/sdk/contract/plan.ts";
import * as task from "@guildhall/sdk/contract/task.ts";
import * as workspace from "@guildhall/sdk/contract/workspace.ts";
import type { Access } from "./identity/guard.ts";
import type { Http } from "./platform/http.ts";

const description = `Gives tasks to AI agents, with hard limits on what they can spend.

**Credentials**: \`Authorization: Bearer <API key>\`, or the access token of a signed-in user. A credential speaks for one workspace.

**Money** is in nano-USD: 1 USD = 1,000,000,000. **Times** are ISO 8601 in UTC, **durations** milliseconds.

**Errors** are problem documents (RFC 9457, \`application/problem+json\`) with a stable \`code\`, the offending fields and what to do; all codes are explained at [/docs/errors](/docs/errors). The id of another workspace's thing gets the same answer as one that does not exist.`;

const problem = {
  description: "A problem document (RFC 9457)",
  content: {
    "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
  },
} as const;

const problemComponent = {
  type: "object",
  required: ["type", "title", "status", "code", "detail", "request_id"],
  properties: {
    type: { type: "string", description: "Where the code is explained, relative to the server." },
    title: { type: "string" },
    status: { type: "integer" },
    code: { type: "string", description: "Stable machine name, for example `task_not_found`." },
    detail: { type: "string", description: "What was wrong." },
    hint: { type: "string", description: "What to do about it." },
    errors: {
      type: "array",
      description: "The offending fields, dotted paths into the request.",
      items: {
        type: "object",
        required: ["field", "message"],
        properties: { field: { type: "string" }, message: { type: "string" } },
      },
    },
    request_id: { type: "string" },
  },
} as const;

/** Schemas that many routes use: named once in the document and referenced. */
function namedSchemas() {
  const registry = z.registry<{ id: string }>();
  const named = {
    CreateTask: task.createTaskSchema,
    Task: task.taskSchema,
    TaskDetail: task.taskDetailSchema,
    TaskList: task.taskListSchema,
    Parked: task.parkedSchema,
    Artifact: task.artifactSchema,
    Upload: task.uploadSchema,
    Event: eventSchema,
    EventList: eventListSchema,
    Agent: workspace.agentSchema,
    Alert: alertSchema,
    AlertList: alertListSchema,
    Usage: workspace.usageSchema,
    Me: workspace.meSchema,
    ApiKey: workspace.apiKeySchema,
    CreatedApiKey: workspace.createdApiKeySchema,
    AccessToken: workspace.accessTokenSchema,
    Limit: workspace.limitSchema,
    LimitList: limit.limitListSchema,
    Plan: planSchema,
    LimitRow: limit.limitRowSchema,
    SimulateCall: limit.simulateCallSchema,
    SimulatedCall: limit.simulatedCallSchema,
  };
  for (const [id, schema] of Object.entries(named)) registry.add(schema, { id });
  return registry;
}

type Json = Record<string, unknown>;
type Operation = Json & { operationId?: string; parameters?: unknown[]; responses?: Json };

/** What the schemas of a route cannot say. */
const additions: Readonly<Record<string, (operation: Operation) => void>> = {
  createTask(operation) {
    operation.parameters = [
      {
        name: "Idempotency-Key",
        in: "header",
        required: false,
        description: "Makes a repetition of this request harmless.",
        schema: { type: "string", minLength: 1, maxLength: 255 },
      },
    ];
  },
  streamTaskEvents(operation) {
    operation.responses = {
      ...operation.responses,
      "200": {
        description: "Server-sent events",
        content: { "text/event-stream": { schema: { type: "string" } } },
      },
    };
  },
  createUpload(operation) {
    const file = { type: "string", format: "binary" };
    const properties = { files: { type: "array", items: file } };
    const schema = { type: "object", required: ["files"], properties };
    operation["requestBody"] = { required: true, content: { "multipart/form-data": { schema } } };
  },
  getArtifactContent(operation) {
    const schema = { type: "string", format: "binary" };
    operation.responses = {
      ...operation.responses,
      "200": { description: "The content", content: { "application/octet-stream": { schema } } },
    };
  },
};

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function operationsOf(document: Json): Operation[] {
  const paths = isObject(document["paths"]) ? Object.values(document["paths"]) : [];
  return paths.filter(isObject).flatMap((path) => Object.values(path).filter(isObject));
}

/** Every name under `#/components/schemas/` that something in `value` points to. */
function referenced(value: unknown, found: Set<string> = new Set()): Set<string> {
  for (const [key, part] of Object.entries(isObject(value) || Array.isArray(value) ? value : {})) {
    if (key === "$ref" && typeof part === "string") found.add(part.split("/").at(-1) ?? "");
    else referenced(part, found);
  }
  return found;
}

/** Drops the components that no route reaches: each named schema comes as input and as output. */
function withoutUnused(document: Json): Json {
  const components = isObject(document["components"]) ? document["components"] : {};
  const schemas = isObject(components["schemas"]) ? components["schemas"] : {};
  const used = referenced([document["paths"], components["responses"]]);
  for (const name of used) referenced(schemas[name], used);
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)));
  return { ...document, components: { ...components, schemas: kept } };
}

function securityOf(access: Access | undefined): Json[] {
  return access === undefined || access === "public" ? [] : [{ credential: [] }];
}

/**
 * Makes the OpenAPI 3.1 document from the schemas that validate requests and answers, and serves it at
 * `/v1/openapi.json`. Register before the routes.
 */
export async function addOpenApi(app: Http, version: string): Promise<void> {
  const schemaRegistry = namedSchemas();
  const fromZod = createJsonSchemaTransform({ schemaRegistry });
  const components = createJsonSchemaTransformObject({ schemaRegistry });
  const accessOf = new Map<string, Access>();

  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "Guildhall", version, description },
      tags: ["Tasks", "Files", "Workspace", "Account", "Sign-in"].map((name) => ({ name })),
      components: {
        securitySchemes: {
          credential: { type: "http", scheme: "bearer", description: "API key or access token" },
        },
      },
    },
    transform(input) {
      const { schema, url } = fromZod(input);
      const access = input.route.config?.access;
      const id = input.schema?.operationId;
      if (id !== undefined && access !== undefined) accessOf.set(id, access);
      // Without a schema it is not part of the API: the page, its files, the health checks of the operator.
      return { schema: input.schema === undefined ? { hide: true } : schema, url };
    },
    transformObject(input) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the document is plain JSON; its library types allow no additions
      const document = structuredClone(components(input)) as unknown as Json;
      for (const operation of operationsOf(document)) {
        const { operationId = "" } = operation;
        const access = accessOf.get(operationId);
        additions[operationId]?.(operation);
        operation["security"] = securityOf(access);
        if (access !== undefined) operation["x-access"] = access;
        operation.responses = { ...operation.responses, default: problem };
      }
      const parts = isObject(document["components"]) ? document["components"] : {};
      const schemas = isObject(parts["schemas"]) ? parts["schemas"] : {};
      document["components"] = { ...parts, schemas: { ...schemas, Problem: problemComponent } };
      return withoutUnused(document);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/openapi.json",
    config: { access: "public" },
    schema: { hide: true },
    handler: () => Promise.resolve(app.swagger()),
  });
}
