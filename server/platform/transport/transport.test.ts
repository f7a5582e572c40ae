import pg from "pg";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { testPasswordOf } from "../../test/postgres.ts";
import { hasRedis, startRedis } from "../../test/redis.ts";
import { createLogger } from "../log.ts";
import { createPostgresTransport } from "./postgres-transport.ts";
import { createRedisTransport } from "./redis-transport.ts";
import type { DeadWake, Transport } from "./transport.ts";
import { type Wake, WAKE_VERSION } from "./wake.ts";

/** What one suite needs of either server. */
type Bed = {
  open(onDead: (dead: DeadWake) => Promise<void>): Transport;
  /** Says something to all processes that no release of ours says, as a stranger or another release would. */
  say(payload: string): Promise<void>;
  /** Cuts all connections for a while, and lets them come back. */
  interrupt(whileAway: () => Promise<void>): Promise<void>;
  /** How many connections of ours are open. */
  connections(): Promise<number>;
  close(): Promise<void>;
};

const log = createLogger({ level: "silent" });

async function postgresBed(): Promise<Bed> {
  const { ownerUrl } = await createTestDatabase();
  const url = new URL(ownerUrl);
  url.username = "guildhall_platform";
  url.password = testPasswordOf("guildhall_platform");
  const admin = new pg.Client({ connectionString: ownerUrl });
  await admin.connect();
  const name = url.pathname.slice(1);
  const ours = "datname = current_database() AND application_name = 'guildhall_wake'";
  return {
    open: (onDead) => createPostgresTransport({ connectionString: url.href, log, onDead }),
    say: async (payload) =>
      void (await admin.query("SELECT pg_notify('guildhall_wake', $1)", [payload])),
    async interrupt(whileAway) {
      await admin.query(`ALTER DATABASE ${name} CONNECTION LIMIT 0`);
      await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${ours}`);
      await whileAway();
      await admin.query(`ALTER DATABASE ${name} CONNECTION LIMIT -1`);
    },
    async connections() {
      return (await admin.query(`SELECT 1 FROM pg_stat_activity WHERE ${ours}`)).rowCount ?? 0;
    },
    close: () => admin.end(),
  };
}

async function redisBed(): Promise<Bed> {
  const redis = await startRedis();
  return {
    open: (onDead) => createRedisTransport({ url: redis.url, log, onDead }),
    async say(payload) {
      await redis.client.publish("guildhall:task-ended", payload);
    },
    async interrupt(whileAway) {
      await redis.kill();
      await whileAway();
      await redis.start();
    },
    async connections() {
      const list = String(await redis.client.client("LIST"));
      // Without the test's own.
      return list.trim().split("\n").length - 1;
    },
    close: () => redis.close(),
  };
}

const suites: readonly [Transport["name"], boolean, () => Promise<Bed>][] = [
  ["postgres", true, postgresBed],
  ["redis", hasRedis, redisBed],
];

const ids = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, n) => `task_${String(from + n).padStart(26, "0")}`);

describe.each(suites.filter(([, here]) => here))(
  "the %s transport",
  async (_name, _here, makeBed) => {
    const bed = await makeBed();
    afterAll(() => bed.close());
    const open = new Set<Transport>();
    afterEach(async () => {
      await Promise.all([...open].map((transport) => transport.close()));
      open.clear();
    });

    /** One process that speaks and hears. */
    function process(options: { onReady?: (wake: Wake) => Promise<void>; listens?: boolean } = {}) {
      const heard = { ready: [] as Wake[], ended: [] as Wake[], dead: [] as DeadWake[] };
      const transport = bed.open((dead) => {
        heard.dead.push(dead);
        return Promise.resolve();
      });
      open.add(transport);
      if (options.listens !== false)
        transport.listen({
          async ready(wake) {
            heard.ready.push(wake);
            await options.onReady?.(wake);
          },
          ended: (wake) => void heard.ended.push(wake),
        });
      return { transport, heard, readyIds: () => heard.ready.flatMap((wake) => wake.taskIds) };
    }

    /** Connected both ways: it was rung once for having come. */
    async function up(...processes: ReturnType<typeof process>[]): Promise<void> {
      await expect
        .poll(() => processes.every(({ transport }) => transport.isConnected()), {
          timeout: 10_000,
        })
        .toBe(true);
    }
    async function hears(...processes: ReturnType<typeof process>[]): Promise<void> {
      await up(...processes);
      await expect
        .poll(() => processes.every(({ heard }) => heard.ready.length > 0), { timeout: 10_000 })
        .toBe(true);
    }

    it("a wake reaches another process with its ids", async () => {
      const [api, worker] = [process({ listens: false }), process()];
      await up(api);
      await hears(worker);
      api.transport.send({ kind: "run_ready", taskIds: ids(1) });
      await expect.poll(worker.readyIds).toEqual(ids(1));
      expect(api.transport.counts.sent).toBe(1);
    });

    it("of a thousand wakes at once none is lost while all are up, and few messages carry them", async () => {
      const [api, left, right] = [process({ listens: false }), process(), process()];
      await up(api);
      await hears(left, right);
      for (const id of ids(1_000)) api.transport.send({ kind: "run_ready", taskIds: [id] });
      const all = () => new Set([...left.readyIds(), ...right.readyIds()]);
      await expect.poll(() => all().size, { timeout: 20_000 }).toBe(1_000);
      expect(api.transport.counts.sent).toBeLessThanOrEqual(20);
    });

    it("the end of a task is told to every process", async () => {
      const [api, ...workers] = [process({ listens: false }), process(), process(), process()];
      await up(api);
      await hears(...workers);
      api.transport.send({ kind: "task_ended", taskIds: ids(2) });
      for (const { heard } of workers)
        await expect.poll(() => heard.ended.map((wake) => wake.taskIds)).toEqual([ids(2)]);
    });

    it("a wake that names nothing rings", async () => {
      const [api, worker] = [process({ listens: false }), process()];
      await up(api);
      await hears(worker);
      const before = worker.heard.ready.length;
      api.transport.send({ kind: "run_ready", taskIds: [] });
      await expect.poll(() => worker.heard.ready.length).toBeGreaterThan(before);
    });

    it("a listener that fails hears the next wake all the same", async () => {
      const [api, worker] = [
        process({ listens: false }),
        process({ onReady: () => Promise.reject(new Error("this process is in trouble")) }),
      ];
      await up(api);
      await hears(worker);
      for (const id of ids(3)) {
        api.transport.send({ kind: "run_ready", taskIds: [id] });
        await expect.poll(worker.readyIds).toContain(id);
      }
    });

    it("with the server away sending neither fails nor waits; when it is back all are rung, and wakes arrive", async () => {
      const [api, worker] = [process({ listens: false }), process()];
      await up(api);
      await hears(worker);
      await bed.interrupt(async () => {
        await expect.poll(() => api.transport.isConnected()).toBe(false);
        api.transport.send({ kind: "run_ready", taskIds: ids(1) });
        await api.transport.flushed();
        expect(api.transport.counts.dropped).toBeGreaterThan(0);
        worker.heard.ready.length = 0;
      });
      await hears(worker);
      await up(api);
      api.transport.send({ kind: "run_ready", taskIds: ids(1, 7) });
      await expect.poll(worker.readyIds, { timeout: 10_000 }).toContain(ids(1, 7)[0]);
    });

    it("a payload of another release rings, whatever it means there", async () => {
      const worker = process();
      await hears(worker);
      const before = worker.heard.ready.length;
      await bed.say(JSON.stringify({ v: WAKE_VERSION + 1, kind: "something_new" }));
      await bed.say(JSON.stringify({ v: 0, task: ids(1)[0] }));
      await expect.poll(() => worker.heard.ready.length).toBe(before + 2);
      expect(worker.transport.counts).toMatchObject({ otherVersion: 2, dead: 0 });
    });

    it("a payload that fits no schema is put away with the reason, once, and the next one arrives", async () => {
      const [api, worker] = [process({ listens: false }), process()];
      await up(api);
      await hears(worker);
      const bad: [string, RegExp][] = [
        ["no json {", /not JSON/],
        ["[]", /./],
        [JSON.stringify({ kind: "run_ready", task_ids: [] }), /^v: /],
        [
          JSON.stringify({ v: WAKE_VERSION, kind: "run_ready", task_ids: ["'; DROP TABLE"] }),
          /task_ids\.0/,
        ],
        [JSON.stringify({ v: WAKE_VERSION, kind: "explode", task_ids: [] }), /^kind: /],
      ];
      for (const [payload] of bad) await bed.say(payload);
      await expect.poll(() => worker.heard.dead.length).toBe(bad.length);
      for (const [n, [payload, reason]] of bad.entries()) {
        expect(worker.heard.dead[n]).toMatchObject({ transport: worker.transport.name, payload });
        expect(worker.heard.dead[n]?.reason).toMatch(reason);
      }
      api.transport.send({ kind: "run_ready", taskIds: ids(1) });
      await expect.poll(worker.readyIds).toContain(ids(1)[0]);
      expect(worker.heard.dead).toHaveLength(bad.length);
    });

    it("a process that has stopped listening takes no wake away from the others", async () => {
      const [api, gone, stays] = [
        process({ listens: false }),
        process({ listens: false }),
        process(),
      ];
      const part = gone.transport.listen({ ready: async () => {}, ended: () => {} });
      await up(api, gone);
      await hears(stays);
      await part.stop();
      for (const id of ids(20)) {
        api.transport.send({ kind: "run_ready", taskIds: [id] });
        await api.transport.flushed();
      }
      await expect.poll(() => new Set(stays.readyIds()).size).toBe(20);
    });

    it("closed it has no connection, and sending does nothing", async () => {
      const [api, worker] = [process({ listens: false }), process()];
      await up(api);
      await hears(worker);
      await Promise.all([api.transport.close(), worker.transport.close()]);
      open.clear();
      await expect.poll(() => bed.connections()).toBe(0);
      const { sent } = api.transport.counts;
      api.transport.send({ kind: "run_ready", taskIds: ids(1) });
      await api.transport.flushed();
      expect(api.transport.counts.sent).toBe(sent);
    });

    it("closing with the server away ends soon", async () => {
      const [api, worker] = [process({ listens: false }), process()];
      await up(api);
      await hears(worker);
      await bed.interrupt(async () => {
        await Promise.all([api.transport.close(), worker.transport.close()]);
        open.clear();
      });
    });
  },
);
