import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@guildhall/sdk/client/client.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { makeNextRelease, NEXT_VERSION } from "./next-release.ts";
import { ask } from "./requests.ts";
import { openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

/** Columns that the release before does not know, in the tables that are written most. */
const EXPANDED = ["tasks", "runs", "attempts", "steps", "events", "holds", "budgets", "outbox"]
  .concat(["agents", "workspaces", "api_keys", "idempotency_keys", "artifacts", "run_files"])
  .map((table) => `ALTER TABLE ${table} ADD COLUMN next_note text DEFAULT 'next';`)
  .join("\n");

const [stage, next] = await Promise.all([openStage(), makeNextRelease(EXPANDED)]);
afterAll(async () => {
  await stage.close();
  await next.remove();
});
const { gateway, client } = stage;
const key = await stage.createKey();

/** Asks until it is told to stop. -> every status but 200, and whether nobody answered */
function watch(url: string) {
  const odd: (number | string)[] = [];
  const stopped = new AbortController();
  const watching = (async () => {
    while (!stopped.signal.aborted) {
      const answer = await ask({ url: `${url}/v1/tasks`, key }).catch((error: unknown) => ({
        status: String(error),
      }));
      if (answer.status !== 200) odd.push(answer.status);
      await delay(20);
    }
  })();
  return {
    odd,
    async stop(): Promise<void> {
      stopped.abort();
      await watching;
    },
  };
}

async function versionOf(url: string): Promise<string> {
  const document = (await (await fetch(`${url}/v1/openapi.json`)).json()) as {
    info: { version: string };
  };
  return document.info.version;
}

async function appliedNext(): Promise<boolean> {
  const rows = await stage.db.withPlatform((tx) =>
    tx.query({
      text: "SELECT 1 FROM information_schema.columns WHERE table_name = 'tasks' AND column_name = 'next_note'",
      values: [],
    }),
  );
  return rows.length > 0;
}

test("F39 the next release migrates and works beside this one under load, and takes over: no task fails, and no request", async () => {
  const old = { api: stage.api, worker: await stage.startWorker() };
  await stage.setFaults([{ kind: "stall", before_event: 4, ms: 100 }]);
  const tasks: string[] = [];
  const give = async (at: typeof client, count: number): Promise<void> => {
    for (let n = 0; n < count; n++)
      tasks.push((await at.tasks.create({ agent: "gray", prompt: "Look around" })).id);
  };
  await give(client, 5);
  const oldApi = watch(old.api.url);

  // Somebody reads for a while what the migration changes.
  const reader = await stage.connectOwner();
  onTestFinished(() => reader.end());
  await reader.query("BEGIN; SELECT 1 FROM tasks LIMIT 1");
  const newGateway = stage.start(["gateway"], {}, next.program);
  await until(async () => {
    const { rows } = await reader.query(
      "SELECT 1 FROM pg_locks WHERE relation = 'tasks'::regclass AND NOT granted AND mode = 'AccessExclusiveLock'",
    );
    return rows.length > 0;
  });
  await give(client, 10);
  expect(await appliedNext()).toBe(false);
  await reader.query("COMMIT");
  const to = { GATEWAY_URL: (await newGateway).gatewayUrl };
  expect(await appliedNext()).toBe(true);

  const [newApi] = await Promise.all([
    stage.start(["api"], to, next.program),
    stage.start(["worker"], to, next.program),
    stage.start(["scheduler"], {}, next.program),
  ]);
  const newWatch = watch(newApi.url);
  const newClient = createClient({ baseUrl: newApi.url, token: key });
  expect(await versionOf(newApi.url)).toBe(NEXT_VERSION);
  for (let round = 0; round < 5; round++) {
    await give(client, 2);
    await give(newClient, 2);
  }
  // A process of this release that starts only now works, too.
  const late = await stage.startWorker();
  await old.worker.stop();
  await give(newClient, 3);
  await until(async () => (await stage.eventsOf(tasks.at(-1)!)).length > 1);

  await oldApi.stop();
  const left = [old.api, late, gateway].map((process) => process.stop());
  expect(await Promise.all(left)).toEqual([0, 0, 0]);
  for (const id of tasks) {
    await until(async () => (await newClient.tasks.get(id)).ended_at !== null);
    expect(await newClient.tasks.get(id)).toMatchObject({ state: "succeeded", cause: null });
  }
  await newWatch.stop();
  expect({ old: oldApi.odd, new: newWatch.odd }).toEqual({ old: [], new: [] });
  await stage.lawsHold();
});
