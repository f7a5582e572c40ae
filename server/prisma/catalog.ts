import type pg from "pg";

/** A column as Postgres describes it; `defaultSql` is an expression, such as `'queued'::text`. */
export type Column = {
  name: string;
  /** Without a modifier or brackets: `text`, `int8`, `timestamptz`. */
  type: string;
  list: boolean;
  nullable: boolean;
  defaultSql: string | null;
  identity: boolean;
};

/** A b-tree over plain columns. */
export type Index = {
  name: string;
  kind: "primary" | "unique" | "plain";
  columns: readonly string[];
  /** Those of `columns` that are sorted from high to low. */
  descending: readonly string[];
  /** Condition of a partial index. */
  whereSql: string | null;
};

export type ForeignKey = {
  name: string;
  columns: readonly string[];
  target: string;
  targetColumns: readonly string[];
  onDelete: string;
  onUpdate: string;
};

export type Table = {
  name: string;
  columns: readonly Column[];
  indexes: readonly Index[];
  foreignKeys: readonly ForeignKey[];
  /** `CHECK (...)`, as Postgres prints it. */
  checks: readonly string[];
};

// Names are collated "C" everywhere, so that the order does not depend on the server's language.
const TABLES = `
  SELECT c.relname::text AS name FROM pg_class c
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  ORDER BY c.relname COLLATE "C"`;

const COLUMNS = `
  SELECT c.relname::text AS "table", a.attname::text AS name, coalesce(e.typname, t.typname)::text AS type,
    e.oid IS NOT NULL AS list, NOT a.attnotnull AS nullable, a.attidentity <> '' AS identity,
    pg_get_expr(d.adbin, d.adrelid) AS "defaultSql"
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type e ON e.typarray = t.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  ORDER BY a.attnum`;

const INDEXES = `
  SELECT t.relname::text AS "table", c.relname::text AS name,
    CASE WHEN i.indisprimary THEN 'primary' WHEN i.indisunique THEN 'unique' ELSE 'plain' END AS kind,
    array_agg(a.attname::text ORDER BY k.place) FILTER (WHERE k.place <= i.indnkeyatts) AS columns,
    coalesce(array_agg(a.attname::text ORDER BY k.place) FILTER (WHERE i.indoption[k.place - 1] & 1 = 1), '{}') AS descending,
    pg_get_expr(i.indpred, i.indrelid) AS "whereSql",
    m.amname = 'btree' AND i.indexprs IS NULL AS plain
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am m ON m.oid = c.relam
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  WHERE t.relnamespace = 'public'::regnamespace
  GROUP BY t.relname, c.relname, i.indexrelid, i.indrelid, i.indisprimary, i.indisunique, i.indpred, i.indexprs, m.amname
  ORDER BY c.relname COLLATE "C"`;

const CONSTRAINTS = `
  SELECT c.conrelid::regclass::text AS "table", c.conname::text AS name, c.contype::text AS kind,
    (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
      JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum) AS columns,
    c.confrelid::regclass::text AS target,
    (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, place)
      JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum) AS "targetColumns",
    c.confdeltype::text AS "onDelete", c.confupdtype::text AS "onUpdate", pg_get_constraintdef(c.oid, true) AS definition
  FROM pg_constraint c WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('f', 'c') AND c.conrelid <> 0
  ORDER BY c.conname COLLATE "C"`;

type OfTable<T> = T & { table: string };
type IndexRow = OfTable<Index> & { plain: boolean };
type ConstraintRow = OfTable<ForeignKey> & { kind: "f" | "c"; definition: string };

/**
 * The tables of the schema `public` with what the Prisma model can say of them, ordered by name, columns in the order
 * of the table. Left out: indexes that are not b-trees over plain columns, which the Prisma model cannot express.
 */
export async function readCatalog(client: pg.ClientBase): Promise<Table[]> {
  const tables = await client.query<{ name: string }>(TABLES);
  const columns = await client.query<OfTable<Column>>(COLUMNS);
  const indexes = await client.query<IndexRow>(INDEXES);
  const constraints = await client.query<ConstraintRow>(CONSTRAINTS);
  return tables.rows.map(({ name }) => {
    const own = <Row extends { table: string }>(rows: readonly Row[]): Row[] =>
      rows.filter((row) => row.table === name);
    return {
      name,
      columns: own(columns.rows),
      indexes: own(indexes.rows).filter((index) => index.plain),
      foreignKeys: own(constraints.rows).filter(({ kind }) => kind === "f"),
      checks: own(constraints.rows)
        .filter(({ kind }) => kind === "c")
        .map(({ definition }) => definition),
    };
  });
}
