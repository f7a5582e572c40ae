import pg from "pg";
import { AppError, invariant } from "./errors.ts";
import type { Logger } from "./log.ts";

/** A named, parameterised statement. `name` makes pg prepare it once per connection: give it to hot statements. */
export type Statement = { name?: string; text: string; values: readonly unknown[] };

/** A transaction, open until the function that received it returns (commit) or throws (rollback). */
export type Tx = {
  query<Row extends object>(statement: Statement): Promise<Row[]>;
};

/** A transaction that sees one workspace only. */
export type WorkspaceTx = Tx & { readonly workspaceId: string };

/** The login roles of migrations/0001. Each has its own pool; none owns a table or bypasses row-level security. */
export type DbRole = "guildhall_app" | "guildhall_ledger" | "guildhall_platform";

export type Db = {
  /** The door for everything that serves a workspace. `work` may run again after a deadlock, so it touches the database only. */
  withWorkspace<T>(workspaceId: string, work: (tx: WorkspaceTx) => Promise<T>): Promise<T>;
  /**
   * The door for jobs that look across workspaces. Its callers are listed in db-doors.test.ts and reviewed.
   * `statementTimeoutMs`: for statements that may take longer than the 5 s of the roles.
   */
  withPlatform<T>(
    work: (tx: Tx) => Promise<T>,
    options?: { statementTimeoutMs?: number },
  ): Promise<T>;
  /** One call of a reviewed SECURITY DEFINER function, as a transaction of its own (one round trip). */
  ledger<Row extends object>(statement: Statement): Promise<Row[]>;
  close(): Promise<void>;
};

/** Where the database is, without credentials. */
export type DbAddress = { host: string; port: number; database: string; ssl?: boolean };

export type DbOptions = {
  address: DbAddress;
  /** The password of a role; roles log in separately, so that no statement can change into another one. */
  passwordOf(role: DbRole): string;
  log: Logger;
  /** Connections per role. */
  maxConnections?: number;
};

const connections = new WeakMap<Tx, pg.ClientBase>();

/** The connection of an open workspace transaction, for Prisma's view of it; everything else asks `tx.query`. */
export function connectionOf(tx: WorkspaceTx): pg.ClientBase {
  const connection = connections.get(tx);
  invariant(connection !== undefined, "a workspace transaction comes from withWorkspace");
  return connection;
}

const WORKSPACE_ID = /^ws_[0-9a-z]{1,40}$/;
const RETRIED = new Set(["40P01", "40001"]);
const MAX_TRIES = 5;
const INT8_OID = 20;
/** Who waits for a connection for so long is refused. */
export const CONNECTION_WAIT_MS = 3_000;
/** What migrate.ts gives to the roles. */
const STATEMENT_TIMEOUT_MS = 5_000;
/** How much longer than the longest statement an answer takes. Later it is a network that swallows, or a server that hangs. */
const ANSWER_MS = 2_000;

/** Broken connections, a server that starts, stops or has no room, and statements that it gave up. */
const UNAVAILABLE =
  /^(08|53|57P0|57014|58|25P0[34]|55P03|40P01|40001|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND)/;
const UNAVAILABLE_MESSAGE =
  /timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error|Query read timeout/;

/** int8 as number: money is nano-USD, safe up to 9 million USD; anything larger is a bug and must not be rounded. */
function parseInt8(text: string): number {
  const value = Number(text);
  invariant(Number.isSafeInteger(value), `int8 ${text} is beyond the safe integers`);
  return value;
}

const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: "text" | "binary") =>
    oid === INT8_OID ? parseInt8 : pg.types.getTypeParser(oid, format),
};

function sqlState(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** True when the server cannot be reached, or cannot take it now: the same may succeed later. */
function isUnavailable(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return UNAVAILABLE.test(state);
  return error instanceof Error && UNAVAILABLE_MESSAGE.test(error.message);
}

const isSilent = (error: unknown): error is Error =>
  error instanceof Error && error.message === "Query read timeout";

/** 503: who is told this may come again; nothing was half done. */
export function databaseAway(cause?: unknown): AppError {
  return new AppError({
    code: "database_unavailable",
    status: 503,
    publicMessage: "The database cannot be reached right now.",
    hint: "Try again in a few seconds; nothing was half done.",
    cause,
    retryable: true,
    retryAfterMs: 2_000,
  });
}

/** What a database's error is to the rest of the program: trouble to reach it is `database_unavailable`. */
export const translated = (error: unknown): unknown =>
  isUnavailable(error) ? databaseAway(error) : error;

async function runStatement<Row extends object>(
  client: pg.ClientBase | pg.Pool,
  statement: Statement,
  answerWithinMs?: number,
): Promise<Row[]> {
  const result = await client.query<Row & pg.QueryResultRow>({
    text: statement.text,
    values: [...statement.values],
    ...(statement.name === undefined ? {} : { name: statement.name }),
    ...(answerWithinMs === undefined ? {} : { query_timeout: answerWithinMs }),
  });
  return result.rows;
}

/** Runs `work` between `begin` and COMMIT. A failed rollback means the connection is in an unknown state: it is thrown away. */
async function transaction<T>(
  pool: pg.Pool,
  begin: string,
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const client = await pool.connect().catch((error: unknown) => {
      throw translated(error);
    });
    let broken: Error | undefined;
    // The pool listens only while a connection is idle: one that is lost in use would end the process. Its next query
    // fails with the same error.
    const onLost = (error: Error): void => {
      broken = error;
    };
    client.on("error", onLost);
    try {
      await client.query(begin);
      const result = await work(client);
      await client.query("COMMIT");
      return result;
    } catch (error) {
      // A connection that does not answer would not answer to this, either.
      if (isSilent(error)) broken = error;
      else
        await client.query("ROLLBACK").catch((rollbackError: Error) => {
          broken = rollbackError;
        });
      if (attempt >= MAX_TRIES || !RETRIED.has(sqlState(error) ?? "")) throw translated(error);
    } finally {
      client.off("error", onLost);
      client.release(broken);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20 * attempt));
  }
}

/** `pool.end()` resolves before its connections are closed; a server that stops meanwhile would cut them, and say so. */
async function endPool(pool: pg.Pool, open: ReadonlySet<unknown>): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    const look = (): void => {
      if (open.size === 0) resolve();
    };
    pool.on("remove", look);
    look();
  });
  await pool.end();
  await closed;
}

/** From here on a platform transaction speaks for one workspace: for what begins before a workspace is known. */
export async function speakFor(tx: Tx, workspaceId: string): Promise<WorkspaceTx> {
  await tx.query({
    text: "SELECT set_config('app.workspace_id', $1, true)",
    values: [workspaceId],
  });
  return { workspaceId, query: (statement) => tx.query(statement) };
}

/** Opens one pool per role, lazily connected. */
export function createDb(options: DbOptions): Db {
  const pools = new Map<DbRole, pg.Pool>();
  const openOf = new Map<pg.Pool, Set<pg.ClientBase>>();
  function poolOf(role: DbRole): pg.Pool {
    const existing = pools.get(role);
    if (existing) return existing;
    const pool = new pg.Pool({
      ...options.address,
      user: role,
      password: options.passwordOf(role),
      types,
      max: options.maxConnections ?? 10,
      connectionTimeoutMillis: CONNECTION_WAIT_MS,
      query_timeout: STATEMENT_TIMEOUT_MS + ANSWER_MS,
      idleTimeoutMillis: 30_000,
      application_name: role,
    });
    pool.on("error", (error) =>
      options.log.warn({ err: error, role }, "an idle database connection was lost"),
    );
    const open = new Set<pg.ClientBase>();
    pool.on("connect", (client) => open.add(client));
    pool.on("remove", (client) => open.delete(client));
    openOf.set(pool, open);
    pools.set(role, pool);
    return pool;
  }

  return {
    async withWorkspace(workspaceId, work) {
      invariant(WORKSPACE_ID.test(workspaceId), "a workspace id has only letters and digits");
      // One round trip. The id is checked above, for a multi-statement string cannot have parameters.
      const begin = `BEGIN; SET LOCAL app.workspace_id = '${workspaceId}'`;
      return transaction(poolOf("guildhall_app"), begin, (client) => {
        const tx: WorkspaceTx = {
          workspaceId,
          query: (statement) => runStatement(client, statement),
        };
        connections.set(tx, client);
        return work(tx);
      });
    },
    withPlatform(work, { statementTimeoutMs } = {}) {
      const longer = statementTimeoutMs !== undefined;
      const begin = longer ? `BEGIN; SET LOCAL statement_timeout = ${statementTimeoutMs}` : "BEGIN";
      const answerWithinMs = longer ? statementTimeoutMs + ANSWER_MS : undefined;
      return transaction(poolOf("guildhall_platform"), begin, (client) =>
        work({ query: (statement) => runStatement(client, statement, answerWithinMs) }),
      );
    },
    async ledger<Row extends object>(statement: Statement) {
      for (let attempt = 1; ; attempt++) {
        try {
          return await runStatement<Row>(poolOf("guildhall_ledger"), statement);
        } catch (error) {
          if (attempt >= MAX_TRIES || !RETRIED.has(sqlState(error) ?? "")) throw translated(error);
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 20 * attempt));
        }
      }
    },
    async close() {
      await Promise.all([...openOf].map(([pool, open]) => endPool(pool, open)));
    },
  };
}
