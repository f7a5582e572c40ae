import { AsyncLocalStorage } from "node:async_hooks";
import { PrismaPg } from "@prisma/adapter-pg";
import type { SqlDriverAdapterFactory } from "@prisma/client/runtime/client";
import pg from "pg";
import type { Prisma, PrismaClient } from "../prisma/generated/client.ts";
import { connectionOf, type WorkspaceTx } from "./db.ts";
import { AppError, invariant } from "./errors.ts";
import { hasCode } from "./system-error.ts";

/** The models of schema.prisma, seen through one transaction. Raw SQL goes through `tx.query`. */
export type PrismaTx = Omit<
  Prisma.TransactionClient,
  "$queryRaw" | "$queryRawUnsafe" | "$executeRaw" | "$executeRawUnsafe"
>;

type PgAdapter = Awaited<ReturnType<PrismaPg["connect"]>>;
type Adapter = Awaited<ReturnType<SqlDriverAdapterFactory["connect"]>>;
type Transaction = Awaited<ReturnType<Adapter["startTransaction"]>>;

/** An open transaction and the first error that the database answered in it: all later ones only follow from it. */
type Bound = { connection: pg.ClientBase; failure?: Error };

/**
 * Which transaction Prisma is to join. Read once, where Prisma begins its own; from there on Prisma itself keeps
 * transactions apart, also where it puts reads of the same tick together.
 */
const joining = new AsyncLocalStorage<Bound>();

/** As long as a connection may idle in a transaction; the statement timeout of the role is below it. */
const TRANSACTION_TIMEOUT_MS = 15_000;

/** The adapter's reading and writing of values, over one connection that somebody else has opened. */
async function queryableOver(bound: Bound): Promise<PgAdapter> {
  // A pool that never connects: all that the adapter asks of it is `query`.
  const pool = new pg.Pool({ max: 1 });
  const query = async (config: pg.QueryArrayConfig): Promise<pg.QueryArrayResult> => {
    try {
      return await bound.connection.query(config);
    } catch (error) {
      bound.failure ??= error as Error;
      throw error;
    }
  };
  pool.query = query as typeof pool.query;
  return new PrismaPg(pool).connect();
}

/** Begins and ends nothing in the database: `withWorkspace` does. */
async function joinTransaction(): Promise<Transaction> {
  const bound = joining.getStore();
  invariant(bound !== undefined, "Prisma is used inside withPrisma only");
  const queryable = await queryableOver(bound);
  return {
    provider: queryable.provider,
    adapterName: queryable.adapterName,
    // Prisma sends no COMMIT and no ROLLBACK of its own.
    options: { usePhantomQuery: true },
    queryRaw: (query) => queryable.queryRaw(query),
    executeRaw: (query) => queryable.executeRaw(query),
    commit: () => Promise.resolve(),
    rollback: () => Promise.resolve(),
  };
}

async function refuse(): Promise<never> {
  invariant(false, "Prisma is used inside a workspace's transaction only");
}

const adapter: Adapter = {
  provider: "postgres",
  adapterName: "guildhall",
  queryRaw: refuse,
  executeRaw: refuse,
  executeScript: refuse,
  startTransaction: joinTransaction,
  getConnectionInfo: () => ({ supportsRelationJoins: true }),
  dispose: () => Promise.resolve(),
};

const factory: SqlDriverAdapterFactory = {
  provider: "postgres",
  adapterName: "guildhall",
  connect: () => Promise.resolve(adapter),
};

async function loadClient(): Promise<PrismaClient> {
  const generated = await import("../prisma/generated/client.ts").catch((error: unknown) => {
    if (!hasCode(error, "ERR_MODULE_NOT_FOUND")) throw error;
    throw new AppError({
      code: "prisma_client_missing",
      status: 500,
      publicMessage: "The database client of this installation was not generated.",
      hint: "Run npm run prepare; npm ci does so unless it is given --ignore-scripts.",
      cause: error,
    });
  });
  return new generated.PrismaClient({ adapter: factory });
}

/** One for the process: it holds no connection, and making it takes longer than any query. */
let client: Promise<PrismaClient> | undefined;

/**
 * Loads Prisma, which takes some 150 ms, before the first request needs it.
 * Throws `prisma_client_missing` when its client was not generated.
 */
export async function preparePrisma(): Promise<void> {
  client ??= loadClient();
  await client;
}

/** Prisma's errors carry its version. */
function isOfPrisma(error: unknown): boolean {
  return error instanceof Error && "clientVersion" in error;
}

/**
 * Runs `work` with Prisma inside the transaction `tx`: same connection, same workspace, committed or rolled back with
 * it, and in sight of what `tx.query` has written. An error of the database is thrown as the database gave it (`code`
 * is the SQLSTATE), so that deadlocks are retried as everywhere.
 */
export async function withPrisma<T>(
  tx: WorkspaceTx,
  work: (prisma: PrismaTx) => Promise<T>,
): Promise<T> {
  const bound: Bound = { connection: connectionOf(tx) };
  client ??= loadClient();
  const prisma = await client;
  try {
    const result = await joining.run(bound, () =>
      prisma.$transaction(work, { timeout: TRANSACTION_TIMEOUT_MS }),
    );
    // After an error Postgres answers COMMIT with a rollback: work that caught it must not look as if it was kept.
    if (bound.failure) throw bound.failure;
    return result;
  } catch (error) {
    throw isOfPrisma(error) ? (bound.failure ?? error) : error;
  }
}
