import { once } from "node:events";
import { createConnection, createServer, type AddressInfo, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";

export type Target = { host: string; port: number };

/** One place between two processes where a network can be made to fail. Everything goes through until it is told. */
export type FaultProxy = {
  port: number;
  /** Connections that are made from now on go there. */
  aimAt(target: Target): void;
  /** A partition: nothing passes in either direction, not even the end of a connection, until `heal`. */
  drop(): void;
  /** Each piece passes so much later; milliseconds. */
  delay(ms: number): void;
  /** Bytes a second, for each connection and direction. */
  throttle(bytesPerSecond: number): void;
  /** Breaks off (RST) what is open; new connections are taken. */
  reset(): void;
  /** Breaks off what is open and every new connection, until `heal`. */
  refuse(): void;
  /** What is open is told that the other side has ended, while that goes on. */
  halfClose(): void;
  /** A connection is broken off after so many bytes of answer; those that are open count from now. */
  cutAfter(bytes: number): void;
  /** No fault any more; what was held back passes. */
  heal(): void;
  /** Open connections. */
  connections(): number;
  close(): Promise<void>;
};

type Pair = { client: Socket; server: Socket; answered: number };

type Weather = { delayMs: number; bytesPerSecond: number; cutAfter: number; refuses: boolean };

const clear: Weather = { delayMs: 0, bytesPerSecond: Infinity, cutAfter: Infinity, refuses: false };

/**
 * Breaks a connection off (RST). One whose end is being sent is only closed: libuv refuses to reset it, upon which Node
 * keeps the socket open for ever, and then cannot end the process.
 */
function reset(socket: Socket): void {
  const ending = socket.writableEnded && !socket.writableFinished;
  if (ending) socket.destroy();
  else socket.resetAndDestroy();
}

/** A TCP proxy on a port of its own, in front of `target`. */
export async function openFaultProxy(target: Target): Promise<FaultProxy> {
  let aim = target;
  let weather = clear;
  let gate: PromiseWithResolvers<void> | undefined;
  const pairs = new Set<Pair>();

  const breakOff = ({ client, server }: Pair): void => {
    reset(client);
    reset(server);
  };

  /** Resolves when nothing is dropped; a second partition may have begun when the first one has ended. */
  async function opened(): Promise<void> {
    if (gate === undefined) return;
    await gate.promise;
    await opened();
  }

  async function* passing(source: AsyncIterable<Buffer>, onPiece: (bytes: number) => void) {
    for await (const piece of source) {
      if (weather.delayMs > 0) await delay(weather.delayMs);
      if (weather.bytesPerSecond < Infinity)
        await delay((piece.length * 1_000) / weather.bytesPerSecond);
      await opened();
      onPiece(piece.length);
      yield piece;
    }
    await opened();
  }

  function join(client: Socket, server: Socket): void {
    const pair: Pair = { client, server, answered: 0 };
    pairs.add(pair);
    const onAnswer = (bytes: number): void => {
      pair.answered += bytes;
      if (pair.answered > weather.cutAfter) breakOff(pair);
    };
    const up = pipeline(client, (source) => passing(source, () => undefined), server);
    const down = pipeline(server, (source) => passing(source, onAnswer), client);
    void Promise.allSettled([up, down]).then(() => {
      client.destroy();
      server.destroy();
      pairs.delete(pair);
    });
  }

  const listener = createServer({ allowHalfOpen: true }, (client) => {
    client.on("error", () => undefined);
    if (weather.refuses) return reset(client);
    const server = createConnection({ ...aim, allowHalfOpen: true });
    server.on("error", () => reset(client));
    join(client, server);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");

  function openGate(): void {
    const closed = gate;
    gate = undefined;
    closed?.resolve();
  }
  const breakAll = (): void => {
    for (const pair of pairs) breakOff(pair);
  };

  return {
    port: (listener.address() as AddressInfo).port,
    aimAt: (next) => void (aim = next),
    drop: () => void (gate ??= Promise.withResolvers()),
    delay: (ms) => void (weather = { ...weather, delayMs: ms }),
    throttle: (bytesPerSecond) => void (weather = { ...weather, bytesPerSecond }),
    reset: breakAll,
    refuse() {
      weather = { ...weather, refuses: true };
      breakAll();
    },
    halfClose() {
      for (const { client } of pairs) client.end();
    },
    cutAfter(bytes) {
      for (const pair of pairs) pair.answered = 0;
      weather = { ...weather, cutAfter: bytes };
    },
    heal() {
      weather = clear;
      openGate();
    },
    connections: () => pairs.size,
    async close() {
      const closed = once(listener, "close");
      listener.close();
      breakAll();
      openGate();
      await closed;
    },
  };
}
