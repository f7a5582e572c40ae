import { randomUUID } from "node:crypto";
import type { Logger } from "../log.ts";
import { receive } from "./incoming.ts";
import { keepConnection } from "./kept-connection.ts";
import { createOutgoing } from "./outgoing.ts";
import {
  type DeadWake,
  lookAround,
  noCounts,
  type Transport,
  type WakeListener,
} from "./transport.ts";
import { parseWakeText, type Wake, wakePayload } from "./wake.ts";

const CHANNEL = "guildhall_wake";

/**
 * LISTEN and NOTIFY on one connection of the process's own, past any pooler: a pooled one would be given to another
 * client between two statements, and its LISTEN with it. NOTIFY takes a lock of the whole database while its
 * transaction commits; said in the transactions of the work itself, it would line up all their commits behind each
 * other. So one connection says everything, after commit, and what comes together goes as one statement.
 */
export function createPostgresTransport(options: {
  /** Directly at the server, of a role that owns nothing. */
  connectionString: string;
  log: Logger;
  onDead(dead: DeadWake): Promise<void>;
}): Transport {
  const { connectionString, log, onDead } = options;
  const from = randomUUID();
  const counts = noCounts();
  let listener: WakeListener | undefined;
  let closed = false;

  function look(): void {
    listener?.ready(lookAround).catch(() => undefined);
  }

  const connection = keepConnection({
    connectionString,
    channel: CHANNEL,
    log,
    onConnected: look,
    onNotification(text) {
      if (listener === undefined) return;
      const parsed = parseWakeText(text);
      if (parsed.status === "wake" && parsed.from === from) return;
      void receive(
        { transport: "postgres", counts, listener, onDead, log },
        { parsed, text: () => text },
      );
    },
  });

  async function post(wakes: readonly Wake[]): Promise<void> {
    const client = await connection.current();
    if (client === undefined) {
      counts.dropped += wakes.length;
      return;
    }
    try {
      await client.query({
        name: "notify_wakes",
        text: `SELECT pg_notify('${CHANNEL}', payload) FROM unnest($1::text[]) payload`,
        values: [wakes.map((wake) => JSON.stringify(wakePayload(wake, from)))],
      });
      counts.sent += wakes.length;
    } catch (error) {
      counts.dropped += wakes.length;
      log.warn({ err: error }, "a wake was not sent; the poll finds what it told of");
    }
  }
  const outgoing = createOutgoing(post);

  return {
    name: "postgres",
    counts,
    send(wake) {
      if (!closed) outgoing.add(wake);
    },
    flushed: () => outgoing.flushed(),
    listen(heard) {
      listener = heard;
      if (connection.isConnected()) look();
      return {
        stop() {
          if (listener === heard) listener = undefined;
          return Promise.resolve();
        },
      };
    },
    isConnected: () => connection.isConnected(),
    async close() {
      closed = true;
      listener = undefined;
      await outgoing.flushed();
      await connection.close();
    },
  };
}
