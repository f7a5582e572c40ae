import { join } from "node:path";
import { mkdir, readFile } from "node:fs/promises";
import { createClient } from "@guildhall/sdk/client/client.ts";
import { afterAll, afterEach, expect, onTestFinished, test, vi } from "vitest";
import type { Db } from "../server/platform/db.ts";
import { makeDataDir, removeDataDir, startProduct } from "../server/test/product.ts";
import { salesCsv } from "../server/test/run-stage.ts";
import { type Answer, ask, askModel, expectUnavailable } from "./requests.ts";
import { openSmallDisk } from "./small-disk.ts";
import { openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const disk = await openSmallDisk(64);
const skip = disk === undefined;
afterEach(() => disk?.free());
afterAll(() => disk?.unmount());

/** Files and folders of all runs lie on the small disk. */
async function openOnDisk() {
  const stage = await openStage({ GUILDHALL_DATA_DIR: disk!.path });
  afterAll(() => stage.close());
  return { ...stage, worker: await stage.startWorker(), key: await stage.createKey() };
}
const opened = skip ? undefined : await openOnDisk();

async function upload(content: string): Promise<Response> {
  const body = new FormData();
  body.append("files", new Blob([content]), "sales.csv");
  const { api, key } = opened!;
  const headers = { authorization: `Bearer ${key}` };
  return fetch(`${api.url}/v1/uploads`, { method: "POST", body, headers });
}

async function giveWith(content: string) {
  const { id } = (await (await upload(content)).json()) as { id: string };
  return opened!.client.tasks.create({ agent: "gray", prompt: "What is in it?", upload_id: id });
}

test.skipIf(skip)(
  "F31 the disk of the files is full in the midst of a run: the agent is told, uploads are refused, all else goes on",
  async () => {
    const { client, api, key, worker, ...stage } = opened!;
    await stage.setFaults([{ kind: "stall", before_event: 4, ms: 2_000, match: { nth: 2 } }]);
    const task = await giveWith(salesCsv);
    await until(() => stage.has(task.id, "run.claimed"));
    await stage.callIsOpen();
    disk!.fill();
    const refused = await upload("x".repeat(100_000));
    expect(refused.status).toBe(507);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: "storage_full" });

    await stage.succeeds(task.id);
    const results = (await stage.eventsOf(task.id)).flatMap(({ type, data }) =>
      type === "tool.completed" && data.name === "write_file" ? [data] : [],
    );
    expect(results.length).toBeGreaterThan(0);
    for (const result of results)
      expect(result).toMatchObject({
        is_error: true,
        preview: expect.stringContaining("no room left"),
      });
    expect(await ask({ url: `${api.url}/v1/tasks`, key })).toMatchObject({ status: 200 });

    await disk!.free();
    const next = await giveWith(salesCsv);
    await stage.succeeds(next.id);
    expect((await client.tasks.get(next.id)).artifacts).not.toEqual([]);
    expect(worker.process.exitCode).toBeNull();
    await stage.lawsHold();
  },
);

test.skipIf(skip)(
  "F31 a run whose files find no room is dead after its third attempt, with the cause; others go on",
  async () => {
    const { client, ...stage } = opened!;
    const first = await giveWith(`n\n${"1\n".repeat(500_000)}`);
    await stage.succeeds(first.id);
    disk!.fill();
    const [big, small] = await Promise.all([
      client.tasks.create({ agent: "gray", prompt: "And now?", upload_id: first.upload_id! }),
      client.tasks.create({ agent: "yuki", prompt: "Say done" }),
    ]);
    await stage.succeeds(small.id);
    await until(async () => (await client.tasks.get(big.id)).ended_at !== null);
    expect(await client.tasks.get(big.id)).toMatchObject({
      state: "failed",
      cause: "attempts_exhausted",
    });
    await disk!.free();
    const again = await client.tasks.create({
      agent: "gray",
      prompt: "Again",
      upload_id: first.upload_id!,
    });
    await stage.succeeds(again.id);
    await stage.lawsHold();
  },
);

test.skipIf(skip)(
  "F31 the disk of the log is full: the product goes on, counts what is lost, and logs again when there is room",
  async () => {
    const log = join(disk!.path, "log");
    const dataDir = await makeDataDir();
    disk!.fill();
    const product = await startProduct({
      dataDir,
      env: { LOG_LEVEL: "trace", RATE_LIMITS: "address=off, user=off" },
      launcher: ["sh", "-c", `exec "$@" 2>>${log}`, "sh"],
    });
    const client = createClient({ baseUrl: product.url, token: product.apiKey });
    const lost = async (): Promise<number> => {
      const text = await (await product.api("/metrics")).text();
      return Number(/^guildhall_log_lines_lost_total (\d+)$/m.exec(text)?.[1]);
    };
    const { id } = await client.tasks.create({ agent: "yuki", prompt: "Say done" });
    await until(async () => (await client.tasks.get(id)).state === "succeeded");
    const wrong = (): Promise<unknown> => client.tasks.get("task_none").catch(() => undefined);
    await until(async () => {
      await Promise.all(Array.from({ length: 50 }, wrong));
      return (await lost()) > 0;
    });
    expect(await readFile(log, "utf8")).toBe("");
    await disk!.free();
    await until(async () => {
      await product.api("/v1/tasks");
      return (await readFile(log, "utf8")).includes("/v1/tasks");
    });
    const before = await lost();
    await client.tasks.list();
    expect(await lost()).toBe(before);
    disk!.fill();
    expect(await product.stop()).toBe(0);
    await removeDataDir(dataDir);
  },
);

/** An installation whose database lies on a small disk, with a run in the midst of a model call. */
async function openOnSmallDatabase() {
  const small = (await openSmallDisk(160))!;
  onTestFinished(() => small.unmount());
  const databaseFolder = join(small.path, "data");
  await mkdir(databaseFolder);
  const stage = await openStage({}, { databaseFolder });
  onTestFinished(() => stage.close());
  await stage.startWorker();
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 2_000 }]);
  const tasks = [(await stage.client.tasks.create({ agent: "gray", prompt: "Look around" })).id];
  await stage.callIsOpen();
  const { api, gateway } = stage;
  const key = await stage.createKey();
  return {
    ...stage,
    small,
    /** Tasks that a client was told of. */
    tasks,
    async create(): Promise<Answer> {
      const json = { agent: "gray", prompt: "x".repeat(5_000) };
      const answer = await ask({ url: `${api.url}/v1/tasks`, key, json });
      if (answer.status === 201) tasks.push((answer.body as { id: string }).id);
      return answer;
    },
    callModel: () => askModel(gateway.gatewayUrl, key),
  };
}

async function holdsMade(db: Db): Promise<number> {
  const [row] = await db.withPlatform((tx) =>
    tx.query<{ n: number }>({ text: "SELECT count(*) AS n FROM holds", values: [] }),
  );
  return row?.n ?? 0;
}

test.skipIf(skip)(
  "F31 the disk of the database is full, then that of its log: requests are told to come again, no call starts without its hold, and all goes on when there is room",
  async () => {
    const { small, create, callModel, database, simulator, ...stage } = await openOnSmallDatabase();
    const answers: Answer[] = [];
    const askAll = async (): Promise<void> => {
      const asked = Array.from({ length: 10 }, () => [create(), callModel()]).flat();
      answers.push(...(await Promise.all(asked)));
    };
    small.fill();
    await stage.setFaults([]);
    await until(async () => {
      answers.push(await create());
      return answers.at(-1)?.status === 503;
    });
    await askAll();
    // What finds no room for its write-ahead log ends the whole server.
    const owner = await stage.connectOwner();
    await until(() =>
      owner.query("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()").then(
        () => false,
        () => true,
      ),
    );
    await askAll();
    for (const answer of answers) if (answer.status >= 300) expectUnavailable(answer);

    await small.free();
    database.kill();
    await database.start();
    for (const id of stage.tasks) await stage.succeeds(id);
    await stage.lawsHold();
    expect(simulator.meter.report().totals.calls).toBeLessThanOrEqual(await holdsMade(stage.db));
  },
);
