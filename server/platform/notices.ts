import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Db } from "./db.ts";
import { newId } from "./ids.ts";
import type { Logger } from "./log.ts";
import { keepConnection } from "./transport/kept-connection.ts";

/** What processes tell each other, and what its key names. Hints only: nothing may depend on one arriving. */
export const topics = [
  /** A limit may have changed or a slot be free: for who wakes what waits for them. No key. */
  "limits",
  /** A task has new events. Key: the task's id. */
  "events",
  /** Somebody may do less than before. Key: `<workspace>/<API key>`; without one anybody. */
  "credentials",
  /** A model was stopped or let go on. No key. */
  "models",
] as const;
export type Topic = (typeof topics)[number];

/** Key is undefined when it is not known which, for example because notices may have been missed. */
export type Heard = (key: string | undefined) => void;

export type Notices = {
  /** Resolves when it hears, or when the database is away, which is tried again in the background. */
  start(): Promise<void>;
  /** Tells this process at once and the others soon. Call it after commit. Never throws. */
  ring(topic: Topic, key?: string): void;
  on(topic: Topic, heard: Heard): void;
  /** Sends what waits, if the database can be reached, and disconnects. */
  close(): Promise<void>;
};

const CHANNEL = "guildhall_notices";
/** NOTIFY takes a lock of the whole database at commit: a process sends at most so often, everything in one. */
const SEND_EVERY_MS = 20;
/** Postgres carries 7,999 bytes; the rest of the message needs some. */
const MAX_CHARS = 7_000;
/** More keys of one topic than that are told as "any of them". */
const MAX_KEYS = 100;

const messageSchema = z.object({
  from: z.string(),
  // Of a newer release there may be topics that are unknown here.
  notices: z.array(z.tuple([z.string(), z.string().nullable()])),
});

const isTopic = (name: string): name is Topic => (topics as readonly string[]).includes(name);

/** What waits to be sent; each notice once. */
function createOutgoing() {
  const waiting = new Map<Topic, Set<string> | "any">();
  return {
    add(topic: Topic, key?: string) {
      const keys = waiting.get(topic) ?? new Set();
      if (keys === "any") return;
      const all = key === undefined || keys.size >= MAX_KEYS ? "any" : keys.add(key);
      waiting.set(topic, all);
    },
    isEmpty: () => waiting.size === 0,
    /** -> the texts of the messages that say all of it */
    take(from: string): string[] {
      const notices = [...waiting].flatMap(([topic, keys]): [Topic, string | null][] =>
        keys === "any" ? [[topic, null]] : [...keys].map((key) => [topic, key]),
      );
      waiting.clear();
      const parts: unknown[][] = [];
      let chars = MAX_CHARS;
      for (const notice of notices) {
        const size = JSON.stringify(notice).length + 1;
        if (chars + size > MAX_CHARS) {
          parts.push([]);
          chars = 0;
        }
        parts.at(-1)?.push(notice);
        chars += size;
      }
      return parts.map((part) => JSON.stringify({ from, notices: part }));
    },
  };
}

/** Who hears what in this process. */
function createListeners() {
  const listeners = new Map<Topic, Heard[]>();
  return {
    on: (topic: Topic, heard: Heard) =>
      void listeners.set(topic, [...(listeners.get(topic) ?? []), heard]),
    tell(topic: Topic, key?: string) {
      for (const heard of listeners.get(topic) ?? []) heard(key);
    },
  };
}

function parseMessage(text: string): z.infer<typeof messageSchema> | undefined {
  try {
    return messageSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** For a program that rings once and ends, such as a command. Call it after commit. */
export async function announce(db: Pick<Db, "ledger">, topic: Topic, key?: string): Promise<void> {
  const text = JSON.stringify({ from: newId("wrk"), notices: [[topic, key ?? null]] });
  await db.ledger({ text: "SELECT pg_notify($1, $2)", values: [CHANNEL, text] });
}

/**
 * Notices between the processes of an installation, by LISTEN and NOTIFY on one connection of this process's own.
 * `url` leads to the database directly: a pooler between would swallow LISTEN. After a connection was lost every
 * listener is told "any", for what was rung meanwhile did not arrive.
 */
export function createNotices(options: { url: string; log: Logger }): Notices {
  const id = newId("wrk");
  const listeners = createListeners();
  const outgoing = createOutgoing();
  const closed = new AbortController();
  let sending: Promise<void> = Promise.resolve();
  let isSending = false;

  let connections = 0;
  const connection = keepConnection({
    connectionString: options.url,
    channel: CHANNEL,
    log: options.log,
    onNotification(text) {
      const message = parseMessage(text);
      if (!message) return options.log.warn("a notice of another process could not be read");
      if (message.from === id) return;
      for (const [topic, key] of message.notices)
        if (isTopic(topic)) listeners.tell(topic, key ?? undefined);
    },
    onConnected() {
      connections += 1;
      if (connections > 1) for (const topic of topics) listeners.tell(topic);
      send();
    },
  });

  async function post(text: string): Promise<void> {
    const client = await connection.current();
    try {
      await client?.query("SELECT pg_notify($1, $2)", [CHANNEL, text]);
    } catch (error) {
      options.log.warn({ err: error }, "a notice was not sent, connecting again");
      // Said again after the next connection; which notices were lost is not known then.
      for (const topic of topics) outgoing.add(topic);
      // A server that does not answer is not known to be away.
      await client?.end().catch(() => undefined);
    }
  }

  async function sendAll(): Promise<void> {
    // What is rung in the same turn goes with it.
    await Promise.resolve();
    while (connection.isConnected() && !outgoing.isEmpty()) {
      for (const text of outgoing.take(id)) await post(text);
      await delay(SEND_EVERY_MS, undefined, { signal: closed.signal }).catch(() => undefined);
    }
    isSending = false;
  }

  function send(): void {
    if (isSending) return;
    isSending = true;
    sending = sendAll();
  }

  return {
    on: listeners.on,
    async start() {
      await connection.current();
    },
    ring(topic, key) {
      listeners.tell(topic, key);
      outgoing.add(topic, key);
      send();
    },
    async close() {
      closed.abort();
      await sending;
      await connection.close();
    },
  };
}
