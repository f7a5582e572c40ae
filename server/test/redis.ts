import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { freePort } from "./free-port.ts";

/** A real Redis of this test's own: a process that may be killed, filled, emptied and started again from older data. */
export type TestRedis = {
  url: string;
  /** Of its process, as long as it runs. */
  pid(): number;
  /** For what the test does to it. */
  client: Redis;
  /** kill -9; the data that it had synced stays. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data. */
  start(): Promise<void>;
  /** Keeps a copy of its data as it is now. */
  keepCopy(): Promise<void>;
  /** While it is stopped: puts that copy in the place of its data, as a lost tail of the log would. */
  putBackCopy(): Promise<void>;
  close(): Promise<void>;
};

const PROGRAM = "redis-server";
const START_MS = 10_000;

/** False: this machine has no Redis. Under CI that is a failure; elsewhere its tests are skipped, loudly. */
export const hasRedis: boolean = ((): boolean => {
  if (spawnSync(PROGRAM, ["--version"]).status === 0) return true;
  if (process.env["CI"]) throw new Error("the tests of the Redis transport need redis-server");
  console.warn("SKIPPED: no redis-server here (`apt-get install redis-server` brings it)");
  return false;
})();

export async function startRedis(settings: readonly string[] = []): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-redis-"));
  const data = join(folder, "data");
  const copy = join(folder, "copy");
  await cp(await mkdtemp(join(folder, "empty-")), data, { recursive: true });
  const port = await freePort();
  let child: ChildProcess | undefined;
  const client = new Redis({
    port,
    lazyConnect: true,
    retryStrategy: () => 50,
    maxRetriesPerRequest: null,
  });
  client.on("error", () => undefined);

  const isRunning = (): boolean =>
    child !== undefined && child.exitCode === null && child.signalCode === null;

  async function start(): Promise<void> {
    if (isRunning()) return;
    const began = performance.now();
    const started = spawn(
      PROGRAM,
      ["--port", String(port), "--bind", "127.0.0.1", "--dir", data, "--save", ""].concat(
        ["--appendonly", "yes", "--appendfsync", "always"],
        settings,
      ),
      { stdio: "ignore" },
    );
    child = started;
    for (;;) {
      const probe = new Redis({ port, lazyConnect: true, retryStrategy: () => null });
      probe.on("error", () => undefined);
      const ready = await probe
        .connect()
        .then(() => probe.ping())
        .then(
          () => true,
          () => false,
        );
      probe.disconnect();
      if (ready) return;
      if (started.exitCode !== null || performance.now() - began > START_MS)
        throw new Error("redis-server did not start");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function kill(): Promise<void> {
    if (child === undefined || !isRunning()) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  await start();
  await client.connect();
  return {
    url: `redis://127.0.0.1:${port}`,
    pid: () => child?.pid ?? 0,
    client,
    kill,
    start,
    async keepCopy() {
      await rm(copy, { recursive: true, force: true });
      await cp(data, copy, { recursive: true });
    },
    async putBackCopy() {
      await rm(data, { recursive: true, force: true });
      await cp(copy, data, { recursive: true });
    },
    async close() {
      client.disconnect();
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
