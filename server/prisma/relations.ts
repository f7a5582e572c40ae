import type { ForeignKey, Table } from "./catalog.ts";
import { camelCase, modelName, pascalCase, singular } from "./names.ts";

/** One side of a foreign key, as a field of a model. */
export type RelationField = { name: string; type: string; attribute: string };

const ACTIONS: Readonly<Record<string, string>> = {
  a: "NoAction",
  r: "Restrict",
  c: "Cascade",
  n: "SetNull",
  d: "SetDefault",
};

function fieldList(columns: readonly string[]): string {
  return `[${columns.map(camelCase).join(", ")}]`;
}

/**
 * The key `(workspace_id, parent_task_id)` leads to `parentTask`: nearly every key starts with the workspace, which
 * says nothing about what it leads to.
 */
function nameOf(key: ForeignKey): string {
  const own = key.columns.filter((column) => column !== "workspace_id");
  const [column = "workspace_id"] = own;
  if (own.length > 1 || !column.endsWith("_id")) return camelCase(singular(key.target));
  return camelCase(column.slice(0, -"_id".length));
}

/** Prisma asks for a name where two keys join the same tables, or a key joins a table with itself. */
function needsName(table: Table, key: ForeignKey): boolean {
  const parallel = table.foreignKeys.filter((other) => other.target === key.target);
  return parallel.length > 1 || key.target === table.name;
}

function isOneToOne(table: Table, key: ForeignKey): boolean {
  return table.indexes.some(
    (index) =>
      index.kind !== "plain" &&
      index.whereSql === null &&
      index.columns.length === key.columns.length &&
      index.columns.every((column) => key.columns.includes(column)),
  );
}

/** The fields of the table that holds the keys. */
export function ownRelations(table: Table): RelationField[] {
  return table.foreignKeys.map((key) => {
    const optional = table.columns.some(
      (column) => column.nullable && key.columns.includes(column.name),
    );
    const parts = [
      ...(needsName(table, key) ? [`"${key.name}"`] : []),
      `fields: ${fieldList(key.columns)}`,
      `references: ${fieldList(key.targetColumns)}`,
      `onDelete: ${ACTIONS[key.onDelete]}`,
      `onUpdate: ${ACTIONS[key.onUpdate]}`,
      // Prisma's own name for a key is left out, as its formatter would.
      ...(key.name === `${table.name}_${key.columns.join("_")}_fkey` ? [] : [`map: "${key.name}"`]),
    ];
    return {
      name: nameOf(key),
      type: `${modelName(key.target)}${optional ? "?" : ""}`,
      attribute: `@relation(${parts.join(", ")})`,
    };
  });
}

/** The fields of the table that the keys of others lead to. */
export function backRelations(table: Table, tables: readonly Table[]): RelationField[] {
  return tables.flatMap((other) =>
    other.foreignKeys
      .filter((key) => key.target === table.name)
      .map((key) => {
        const one = isOneToOne(other, key);
        const named = needsName(other, key);
        const name = camelCase(one ? singular(other.name) : other.name);
        return {
          name: named ? `${name}By${pascalCase(nameOf(key))}` : name,
          type: `${modelName(other.name)}${one ? "?" : "[]"}`,
          attribute: named ? `@relation("${key.name}")` : "",
        };
      }),
  );
}
