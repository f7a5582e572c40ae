type Schema = Record<string, unknown>;

const MAX_DEPTH = 8;

function isSchema(value: unknown): value is Schema {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function schemaList(value: unknown): Schema[] {
  return Array.isArray(value) ? value.filter((entry) => isSchema(entry)) : [];
}

function resolve(schema: Schema, root: Schema): Schema {
  const reference = schema["$ref"];
  if (typeof reference !== "string" || !reference.startsWith("#/")) return schema;
  let target: unknown = root;
  for (const part of reference.slice(2).split("/"))
    target = isSchema(target) ? target[part] : undefined;
  return isSchema(target) ? target : {};
}

function exampleText(schema: Schema): string {
  const byFormat: Record<string, string> = {
    "date-time": "2026-01-01T00:00:00Z",
    date: "2026-01-01",
    time: "00:00:00Z",
    email: "simulated@example.com",
    uri: "https://example.com/simulated",
    uuid: "00000000-0000-4000-8000-000000000000",
  };
  const text = byFormat[String(schema["format"])] ?? "simulated";
  const min = typeof schema["minLength"] === "number" ? schema["minLength"] : 0;
  const max =
    typeof schema["maxLength"] === "number" ? schema["maxLength"] : Number.POSITIVE_INFINITY;
  return text.padEnd(min, ".").slice(0, max);
}

function exampleNumber(schema: Schema): number {
  if (typeof schema["minimum"] === "number") return schema["minimum"];
  if (typeof schema["exclusiveMinimum"] === "number") return schema["exclusiveMinimum"] + 1;
  return typeof schema["maximum"] === "number" ? Math.min(1, schema["maximum"]) : 1;
}

function exampleObject(schema: Schema, root: Schema, depth: number): Record<string, unknown> {
  const properties = isSchema(schema["properties"]) ? schema["properties"] : {};
  const required = Array.isArray(schema["required"]) ? schema["required"].map(String) : [];
  return Object.fromEntries(
    required.map((name) => {
      const property = properties[name];
      return [name, valueFor(isSchema(property) ? property : {}, root, depth + 1)];
    }),
  );
}

function exampleArray(schema: Schema, root: Schema, depth: number): unknown[] {
  const length = typeof schema["minItems"] === "number" ? Math.min(schema["minItems"], 100) : 0;
  const items = isSchema(schema["items"]) ? schema["items"] : {};
  return Array.from({ length }, () => valueFor(items, root, depth + 1));
}

function given(schema: Schema): { value: unknown } | undefined {
  if ("const" in schema) return { value: schema["const"] };
  if ("default" in schema) return { value: schema["default"] };
  for (const list of [schema["enum"], schema["examples"]])
    if (Array.isArray(list) && list.length > 0) return { value: list[0] };
  return undefined;
}

function valueFor(unresolved: Schema, root: Schema, depth: number): unknown {
  if (depth > MAX_DEPTH) return null;
  const schema = resolve(unresolved, root);
  const known = given(schema);
  if (known !== undefined) return known.value;
  const [choice] = [...schemaList(schema["anyOf"]), ...schemaList(schema["oneOf"])];
  if (choice !== undefined) return valueFor(choice, root, depth + 1);
  const parts = schemaList(schema["allOf"]);
  if (parts.length > 0)
    return Object.assign({}, ...parts.map((part) => valueFor(part, root, depth + 1)));
  const type: unknown = Array.isArray(schema["type"]) ? schema["type"][0] : schema["type"];
  switch (type) {
    case "string":
      return exampleText(schema);
    case "integer":
    case "number":
      return exampleNumber(schema);
    case "boolean":
      return true;
    case "array":
      return exampleArray(schema, root, depth);
    case "null":
      return null;
    default:
      return exampleObject(schema, root, depth);
  }
}

/** Builds the smallest value that a JSON schema asks for; used where a caller forces a tool or a format. */
export function exampleOf(schema: Schema): unknown {
  return valueFor(schema, schema, 0);
}
