import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@guildhall/sdk/client/client.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { makeDataDir, removeDataDir, startProduct } from "../server/test/product.ts";
import { type Answer, ask, askModel, expectUnavailable } from "./requests.ts";
import { openStage, until } from "./stage.ts";
import { TIMES } from "./times.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const stage = await openStage();
afterAll(() => stage.close());
const { api, gateway, client } = stage;
const key = await stage.createKey();
const workers = await Promise.all([stage.startWorker(), stage.startWorker()]);

type Owner = Awaited<ReturnType<typeof stage.connectOwner>>;

const TASKS = 12;
const give = () => client.tasks.create({ agent: "gray", prompt: "Look around" });
const callsMade = (): number => stage.simulator.meter.report().totals.calls;
const callsOpen = (): number =>
  stage.simulator.meter.report().calls.filter((call) => call.finished_at === null).length;
const listTasks = (): Promise<Answer> => ask({ url: `${api.url}/v1/tasks`, key });
const createTask = (): Promise<Answer> =>
  ask({ url: `${api.url}/v1/tasks`, key, json: { agent: "gray", prompt: "Look around" } });

/** Tasks in the midst of a model call each, which take no further one before the fault is taken away. */
async function openCalls(): Promise<string[]> {
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 4_000 }]);
  const tasks = await Promise.all(Array.from({ length: TASKS }, give));
  await until(() => callsOpen() === TASKS);
  return tasks.map(({ id }) => id);
}

async function allGoOn(taskIds: readonly string[]): Promise<void> {
  for (const id of taskIds) await stage.succeeds(id);
  for (const { process } of [api, gateway, ...workers]) expect(process.exitCode).toBeNull();
  await stage.lawsHold();
}

async function connectOwner(): Promise<Owner> {
  const owner = await stage.connectOwner();
  onTestFinished(() => owner.end().catch(() => undefined));
  return owner;
}

test("F08 the database is killed in the midst of calls: what is asked is told to come again, no call starts, and all goes on", async () => {
  const tasks = await openCalls();
  const before = callsMade();
  stage.database.kill();
  await stage.setFaults([]);
  for (let round = 0; round < 5; round++) {
    const [list, create, call] = [listTasks(), createTask(), askModel(gateway.gatewayUrl, key)];
    for (const answer of await Promise.all([list, create, call])) expectUnavailable(answer);
    expect((await list).type).toBe("application/problem+json");
  }
  expect(callsMade()).toBe(before);
  await stage.database.start();
  await allGoOn(tasks);
  expect(await createTask()).toMatchObject({ status: 201 });
});

test("F08 one server process of the database is killed: all its connections break, and all goes on", async () => {
  const tasks = await openCalls();
  const owner = await connectOwner();
  const { rows } = await owner.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE usename = 'guildhall_ledger' LIMIT 1",
  );
  process.kill(rows[0]!.pid, "SIGKILL");
  await stage.setFaults([]);
  const answers: Answer[] = [];
  await until(async () => {
    answers.push(await createTask());
    return answers.at(-1)?.status === 201;
  });
  for (const answer of answers.slice(0, -1)) expectUnavailable(answer);
  await allGoOn(tasks);
});

test("F08 the database that a single process brings along is killed: it is started again, and all goes on", async () => {
  const dataDir = await makeDataDir();
  const product = await startProduct({ dataDir, env: TIMES });
  onTestFinished(async () => {
    await product.stop();
    await removeDataDir(dataDir);
  });
  const own = createClient({ baseUrl: product.url, token: product.apiKey });
  const ids = [(await own.tasks.create({ agent: "gray", prompt: "Look around" })).id];
  const postmaster = await readFile(join(dataDir, "postgres/cluster/postmaster.pid"), "utf8");
  process.kill(Number.parseInt(postmaster, 10), "SIGKILL");
  await until(async () => {
    const url = `${product.url}/v1/tasks`;
    const json = { agent: "gray", prompt: "Look around" };
    const answer = await ask({ url, key: product.apiKey, json });
    if (answer.status === 201) ids.push((answer.body as { id: string }).id);
    else expectUnavailable(answer);
    return answer.status === 201;
  });
  for (const id of ids) await until(async () => (await own.tasks.get(id)).state === "succeeded");
  expect((await product.cli("verify")).code).toBe(0);
});

/** Nobody else reads or writes the table until the answer is called. */
async function lock(table: string): Promise<() => Promise<unknown>> {
  const owner = await connectOwner();
  await owner.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  return () => owner.query("COMMIT");
}

/** Three pools of ten, one connection that listens. */
const MOST_CONNECTIONS = 31;

test("F09 the database hangs: holds are given up, no call starts, and nothing piles up at the gateway", async () => {
  expect(await askModel(gateway.gatewayUrl, key)).toMatchObject({ status: 200 });
  const before = callsMade();
  const unlock = await lock("budgets");
  for (let round = 0; round < 2; round++) {
    const calls = Array.from({ length: 150 }, () => askModel(gateway.gatewayUrl, key));
    for (const answer of await Promise.all(calls)) expectUnavailable(answer);
    expect(gateway.links.database.connections()).toBeLessThanOrEqual(MOST_CONNECTIONS);
  }
  expect(callsMade()).toBe(before);
  await unlock();
  await until(async () => (await askModel(gateway.gatewayUrl, key)).status === 200);
  await stage.lawsHold();
});

test("F09 the network swallows what goes to the database: holds are given up, no call starts, and the next ones go", async () => {
  const before = callsMade();
  gateway.links.database.drop();
  const calls = Array.from({ length: 150 }, () => askModel(gateway.gatewayUrl, key));
  for (const answer of await Promise.all(calls)) expectUnavailable(answer);
  expect(callsMade()).toBe(before);
  gateway.links.database.heal();
  await until(async () => (await askModel(gateway.gatewayUrl, key)).status === 200);
  // The ends of those that were given up had been swallowed, too.
  await until(() => gateway.links.database.connections() <= MOST_CONNECTIONS);
  await stage.lawsHold();
});

test("F09 every connection of the API is taken: requests are told to come again, and are answered when one is free", async () => {
  const unlock = await lock("tasks");
  const lists = Array.from({ length: 60 }, listTasks);
  for (const answer of await Promise.all(lists)) expectUnavailable(answer);
  expect(api.links.database.connections()).toBeLessThanOrEqual(MOST_CONNECTIONS);
  await unlock();
  await until(async () => (await listTasks()).status === 200);
});

async function deadlocks(owner: Owner): Promise<number> {
  const { rows } = await owner.query<{ n: string }>(
    "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()",
  );
  return Number(rows[0]?.n);
}

test("F10 another session locks budgets from root to leaf: deadlocks are tried again with the same ids, and nothing happens twice", async () => {
  const owner = await connectOwner();
  // So that it is never the one that is given up.
  await owner.query("SET deadlock_timeout = '1h'");
  const before = await deadlocks(owner);
  await stage.setFaults([]);
  const tasks = await Promise.all(Array.from({ length: TASKS }, give));
  const lockLevels = async (): Promise<void> => {
    await owner.query("BEGIN");
    for (const level of ["owner", "workspace", "agent", "task", "run"])
      await owner.query(
        "SELECT 1 FROM budgets WHERE level = $1 AND meter = 'model_cost' ORDER BY id FOR UPDATE",
        [level],
      );
    await owner.query("COMMIT");
  };
  await until(async () => {
    await lockLevels();
    return (await deadlocks(owner)) > before;
  });
  await allGoOn(tasks.map(({ id }) => id));
});

/** Every `nth` row that is put into the table is refused with this state, and the sequence says how many came. */
async function refuseRows(owner: Owner, { table, state, nth }: Record<string, string | number>) {
  await owner.query(`
    CREATE SEQUENCE refused_rows;
    CREATE FUNCTION refuse_rows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      IF nextval('refused_rows') % ${nth} = 0 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '${state}'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER refuse_rows BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION refuse_rows()`);
  const end = (): Promise<unknown> =>
    owner.query(
      "DROP FUNCTION IF EXISTS refuse_rows() CASCADE; DROP SEQUENCE IF EXISTS refused_rows",
    );
  onTestFinished(async () => void (await end()));
  return {
    came: async () =>
      Number((await owner.query("SELECT last_value AS n FROM refused_rows")).rows[0].n),
    end,
  };
}

test.for([
  { table: "holds", state: "40001" },
  { table: "events", state: "40P01" },
])(
  "F10 rows of $table are refused with $state now and then: all end, and nothing happens twice",
  async ({ table, state }) => {
    const owner = await connectOwner();
    const refusing = await refuseRows(owner, { table, state, nth: 9 });
    const tasks = await Promise.all(Array.from({ length: TASKS }, give));
    await until(async () => (await refusing.came()) > 9);
    await allGoOn(tasks.map(({ id }) => id));
    await refusing.end();
  },
);

test("F10 what stays refused is tried five times, and then told to come again", async () => {
  const owner = await connectOwner();
  const refusing = await refuseRows(owner, { table: "tasks", state: "40001", nth: 1 });
  expectUnavailable(await createTask());
  expect(await refusing.came()).toBe(5);
  await refusing.end();
  expect(await createTask()).toMatchObject({ status: 201 });
});
