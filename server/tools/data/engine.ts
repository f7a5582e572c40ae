import { DuckDBInstance, type DuckDBConnection, type DuckDBValue } from "@duckdb/node-api";
import { invariant } from "../../platform/errors.ts";

export type DataCell = string | number | bigint | boolean | null;

/** The values of one row in the order of the SELECT list. */
export type DataRow = readonly DataCell[];

export type DataSession = {
  /**
   * Runs one statement; throws the signal's reason when it is aborted meanwhile. Dates, decimals and
   * nested values are to be cast to VARCHAR in the statement.
   */
  query(sql: string, values?: string[]): Promise<DataRow[]>;
};

export type DataEngine = {
  /**
   * Gives `work` a fresh in-memory database that can touch no file except those below `directory`,
   * spills there, loads no extension, and cannot lift these limits.
   */
  use<T>(options: {
    signal: AbortSignal;
    /** Absolute path of a private folder; without it there is no file access at all. */
    directory?: string;
    work: (session: DataSession) => Promise<T>;
  }): Promise<T>;
};

/** A statement that is interrupted before it starts forgets that, so the interrupt is repeated. */
const interruptEveryMs = 20;

export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

async function openConfined(directory: string | undefined, memoryLimitMb: number) {
  const instance = await DuckDBInstance.create(":memory:", {
    memory_limit: `${memoryLimitMb}MB`,
    // One thread: two cores serve the whole process, and results do not depend on scheduling.
    threads: "1",
    temp_directory: directory ?? "",
    max_temp_directory_size: directory === undefined ? "0MB" : "2GB",
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    allow_community_extensions: "false",
  });
  const connection = await instance.connect();
  if (directory !== undefined) {
    await connection.run(`SET allowed_directories = [${quoteText(`${directory}/`)}]`);
  }
  await connection.run("SET enable_external_access = false");
  await connection.run("SET lock_configuration = true");
  return { instance, connection };
}

/**
 * True for what DuckDB says about a statement or its data (`Invalid Input Error: ...`, `Out of
 * Memory Error: ...`), false for a fault of DuckDB itself and for everything else.
 */
export function isStatementError(error: unknown): error is Error {
  return error instanceof Error && /^(?!INTERNAL)[A-Z][A-Za-z ]* Error: /.test(error.message);
}

function requireCell(value: DuckDBValue): DataCell {
  invariant(value === null || typeof value !== "object", "a statement selects plain values only");
  return value;
}

async function queryInterruptibly(job: {
  connection: DuckDBConnection;
  signal: AbortSignal;
  sql: string;
  values: string[] | undefined;
}): Promise<DataRow[]> {
  const { connection, signal, sql, values } = job;
  signal.throwIfAborted();
  let repeat: NodeJS.Timeout | undefined;
  const interrupt = () => {
    connection.interrupt();
    repeat = setInterval(() => connection.interrupt(), interruptEveryMs);
  };
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    const result = await connection.runAndReadAll(sql, values);
    return result.getRows().map((row) => row.map(requireCell));
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", interrupt);
    clearInterval(repeat);
  }
}

/** Waits for a free slot in order of arrival; an abort leaves the queue. */
function createSlots(count: number) {
  let free = count;
  const waiting: (() => void)[] = [];

  async function take(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (free > 0) {
      free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const granted = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        waiting.splice(waiting.indexOf(granted), 1);
        reject(signal.reason);
      };
      waiting.push(granted);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  function give(): void {
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next();
  }

  return { take, give };
}

/**
 * DuckDB in process. At most `slots` databases are open at once: each may take `memoryLimitMb`, and
 * a running statement occupies one of the four threads that Node also needs for files. DuckDB does
 * not count all that it allocates: with 256 MB a profile of a CSV file of 225 MB adds up to 570 MB to the
 * process, with 128 MB up to 370 MB.
 */
export function createDataEngine({ memoryLimitMb = 256, slots = 2 } = {}): DataEngine {
  const turns = createSlots(slots);
  return {
    async use({ signal, directory, work }) {
      await turns.take(signal);
      try {
        const { instance, connection } = await openConfined(directory, memoryLimitMb);
        try {
          return await work({
            query: (sql, values) => queryInterruptibly({ connection, signal, sql, values }),
          });
        } finally {
          connection.closeSync();
          instance.closeSync();
        }
      } finally {
        turns.give();
      }
    },
  };
}
