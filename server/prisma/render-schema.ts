import type { Column, Index, Table } from "./catalog.ts";
import { camelCase, modelName } from "./names.ts";
import { backRelations, ownRelations } from "./relations.ts";

const HEADER = `// Written from the migrated database by \`npm run schema\`; a test compares the two. The migrations are the truth:
// change them, not this file. What Prisma cannot say stands as a comment above its model: checks, and that row-level
// security binds each table with a workspace_id.

generator client {
  provider               = "prisma-client"
  output                 = "./generated"
  previewFeatures        = ["partialIndexes"]
  runtime                = "nodejs"
  moduleFormat           = "esm"
  generatedFileExtension = "ts"
  importFileExtension    = "ts"
}

datasource db {
  provider = "postgresql"
}
`;

const TYPES: Readonly<Record<string, string>> = {
  text: "String",
  bool: "Boolean",
  int4: "Int",
  int8: "BigInt",
  timestamptz: "DateTime",
  jsonb: "Json",
  bytea: "Bytes",
};

function typeOf(column: Column): string {
  const type = TYPES[column.type] ?? `Unsupported("${column.type}")`;
  if (column.list) return `${type}[]`;
  return column.nullable ? `${type}?` : type;
}

function defaultOf(column: Column): string | undefined {
  if (column.identity) return "@default(autoincrement())";
  if (column.defaultSql === null) return undefined;
  const [, text] = /^'([^'\\]*)'::text$/.exec(column.defaultSql) ?? [];
  if (text !== undefined) return `@default(${JSON.stringify(text)})`;
  if (/^(-?\d+|true|false|now\(\))$/.test(column.defaultSql))
    return `@default(${column.defaultSql})`;
  return `@default(dbgenerated(${JSON.stringify(column.defaultSql)}))`;
}

type Field = readonly [name: string, type: string, attributes: string];

function columnField(table: Table, column: Column): Field {
  const name = camelCase(column.name);
  const isKey = table.indexes.some(
    ({ kind, columns }) => kind === "primary" && columns.length === 1 && columns[0] === column.name,
  );
  const unique = table.indexes.find(
    ({ kind, columns, whereSql }) =>
      kind === "unique" && whereSql === null && columns.length === 1 && columns[0] === column.name,
  );
  const attributes = [
    isKey ? "@id" : undefined,
    unique &&
      (unique.name === `${table.name}_${column.name}_key`
        ? "@unique"
        : `@unique(map: "${unique.name}")`),
    defaultOf(column),
    name === column.name ? undefined : `@map("${column.name}")`,
    column.type === "timestamptz" ? "@db.Timestamptz(6)" : undefined,
  ];
  return [
    name,
    typeOf(column),
    attributes.filter((attribute) => attribute !== undefined).join(" "),
  ];
}

/** Prisma's formatter puts the fields of a block into three columns. */
function alignFields(fields: readonly Field[]): string[] {
  const nameWidth = Math.max(...fields.map(([name]) => name.length));
  const typeWidth = Math.max(...fields.map(([, type]) => type.length));
  return fields.map(([name, type, attributes]) =>
    `  ${name.padEnd(nameWidth)} ${type.padEnd(typeWidth)} ${attributes}`.trimEnd(),
  );
}

/** As Prisma's formatter sorts them. */
const INDEX_ORDER: readonly Index["kind"][] = ["primary", "unique", "plain"];

function indexLine(table: Table, index: Index): string | undefined {
  const columns = index.columns.map((column) =>
    index.descending.includes(column) ? `${camelCase(column)}(sort: Desc)` : camelCase(column),
  );
  const list = `[${columns.join(", ")}]`;
  // Keys and whole unique indexes of one column stand at the field.
  if (index.kind === "primary") return columns.length > 1 ? `  @@id(${list})` : undefined;
  if (index.kind === "unique" && columns.length === 1 && index.whereSql === null) return undefined;
  const ending = index.kind === "unique" ? "key" : "idx";
  const parts = [
    list,
    ...(index.name === `${table.name}_${index.columns.join("_")}_${ending}`
      ? []
      : [`map: "${index.name}"`]),
    ...(index.whereSql === null ? [] : [`where: raw(${JSON.stringify(index.whereSql)})`]),
  ];
  return `  @@${index.kind === "unique" ? "unique" : "index"}(${parts.join(", ")})`;
}

function renderModel(table: Table, tables: readonly Table[]): string {
  const relations = [...ownRelations(table), ...backRelations(table, tables)];
  const fields = [
    ...table.columns.map((column) => columnField(table, column)),
    ...relations.map(({ name, type, attribute }): Field => [name, type, attribute]),
  ];
  const indexes = table.indexes
    .toSorted((a, b) => INDEX_ORDER.indexOf(a.kind) - INDEX_ORDER.indexOf(b.kind))
    .map((index) => indexLine(table, index))
    .filter((line) => line !== undefined);
  return [
    ...table.checks.map((check) => `/// ${check}`),
    `model ${modelName(table.name)} {`,
    ...alignFields(fields),
    "",
    ...indexes,
    `  @@map("${table.name}")`,
    "}",
    "",
  ].join("\n");
}

/** The text of schema.prisma for these tables. */
export function renderSchema(tables: readonly Table[]): string {
  return [HEADER, ...tables.map((table) => renderModel(table, tables))].join("\n");
}
