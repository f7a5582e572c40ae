import pg from "pg";
import type { Logger } from "../log.ts";

/** A connection of its own to Postgres that listens, and is made again whenever it is lost. */
export type KeptConnection = {
  /** The connection as it is after an attempt that is under way; undefined while the server is away. */
  current(): Promise<pg.Client | undefined>;
  isConnected(): boolean;
  close(): Promise<void>;
};

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;
/** A server that does not answer counts as away. */
const ANSWER_TIMEOUT_MS = 5_000;

async function open(options: {
  connectionString: string;
  channel: string;
  onNotification(payload: string): void;
  onLost(client: pg.Client): void;
  log: Logger;
}): Promise<pg.Client | undefined> {
  const { channel, log } = options;
  const client = new pg.Client({
    connectionString: options.connectionString,
    application_name: channel,
    keepAlive: true,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
  });
  client.on("error", (error) => log.warn({ err: error }, "the bell between processes was lost"));
  // Comes after every error, also when the attempt to connect has failed.
  client.once("end", () => options.onLost(client));
  client.on("notification", ({ payload = "" }) => options.onNotification(payload));
  try {
    await client.connect();
    await client.query(`LISTEN ${channel}`);
    return client;
  } catch (error) {
    log.warn({ err: error }, "the bell between processes is away; tasks start by the poll");
    await client.end().catch(() => undefined);
    return undefined;
  }
}

/** Connects at once. `onConnected` is called after each time, for what was said before was missed. */
export function keepConnection(options: {
  connectionString: string;
  /** Name of the channel that it listens on, and of the connection. */
  channel: string;
  onNotification(payload: string): void;
  onConnected(): void;
  log: Logger;
}): KeptConnection {
  let connection: pg.Client | undefined;
  let retry: NodeJS.Timeout | undefined;
  let retryMs = FIRST_RETRY_MS;
  let closed = false;
  let connecting = Promise.resolve();

  function onLost(client: pg.Client): void {
    if (connection === client) connection = undefined;
    if (closed) return;
    retry = setTimeout(() => {
      connecting = connect();
    }, retryMs);
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
  }

  async function connect(): Promise<void> {
    connection = await open({ ...options, onLost });
    if (connection === undefined || closed) return;
    retryMs = FIRST_RETRY_MS;
    options.onConnected();
  }

  connecting = connect();
  return {
    async current() {
      await connecting;
      return connection;
    },
    isConnected: () => connection !== undefined,
    async close() {
      closed = true;
      clearTimeout(retry);
      await connecting;
      await connection?.end().catch(() => undefined);
    },
  };
}
