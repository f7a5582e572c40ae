import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

/** BullMQ by itself: from `queue.add` to a handler that does nothing. */
export type BareBullmq = {
  /** `started` is told when the handler is called (`performance.now()`). */
  add(n: number, started: (atMs: number) => void): Promise<void>;
  close(): Promise<void>;
};

export async function createBareBullmq(url: string, concurrency: number): Promise<BareBullmq> {
  const connect = (): Redis => new Redis(url, { maxRetriesPerRequest: null });
  const connections = [connect(), connect()] as const;
  const begun = new Map<number, (atMs: number) => void>();
  const worker = new Worker<{ n: number }>(
    "bench",
    (job) => {
      begun.get(job.data.n)?.(performance.now());
      return Promise.resolve();
    },
    { connection: connections[0], concurrency },
  );
  const queue = new Queue<{ n: number }>("bench", { connection: connections[1] });
  await queue.waitUntilReady();
  await worker.waitUntilReady();
  return {
    async add(n, started) {
      begun.set(n, started);
      await queue.add("task", { n });
    },
    async close() {
      await worker.close();
      await queue.close();
      for (const connection of connections) connection.disconnect();
    },
  };
}
