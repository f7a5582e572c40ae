import { createClient, type Client } from "@guildhall/sdk/client/client.ts";
import { scopes } from "@guildhall/sdk/contract/workspace.ts";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { type Play, startOtherProvider, type Turn } from "../server/test/other-provider.ts";
import { openWorkspace } from "../server/test/run-stage.ts";
import { residentBytes } from "./figures.ts";
import { openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

/** What an agent does again and again, however often it is answered; `round` makes no two calls equal. */
const RUNAWAYS: Readonly<Record<string, (round: number) => Required<Turn>["uses"]>> = {
  "burn the processor": (round) => [
    { name: "search_files", input: { query: `(a+)+(a|aa)+${round}$`, regex: true } },
    { name: "profile_data", input: { path: "input/wide.csv" } },
  ],
  "fill the disk": (round) =>
    Array.from({ length: 40 }, (_, n) => ({
      name: "write_file",
      input: { path: `pile/${round}-${n}.txt`, content: "x".repeat(1_000) },
    })),
};

let round = 0;
const play: Play = ({ messages }) => {
  const asked = JSON.stringify(messages[0]);
  const runaway = Object.keys(RUNAWAYS).find((what) => asked.includes(what));
  if (runaway === undefined) return { say: "Done." };
  round += 1;
  return { say: "More.", uses: RUNAWAYS[runaway]!(round) };
};

const provider = await startOtherProvider(play);
const stage = await openStage();
const gateway = await stage.start(["gateway"], { SIMULATOR_URL: provider.url });
const worker = await stage.startWorker({ GATEWAY_URL: gateway.gatewayUrl });
afterAll(async () => {
  await stage.close();
  await provider.close();
});

async function openClient(): Promise<Client> {
  const owner = await stage.connectOwner();
  const { workspaceId, userId } = await openWorkspace({ db: stage.db, admin: owner });
  await owner.end();
  const { key } = await stage.identity.apiKeys.create({
    workspaceId,
    createdBy: userId,
    actor: `user:${userId}`,
    origin: "local",
    name: "Test",
    scopes: [...scopes],
  });
  return createClient({ baseUrl: stage.api.url, token: key });
}

const MiB = 1_048_576;
/** Two data engines with 256 MiB each, and what the files themselves take. */
const MOST_MEMORY = 900 * MiB;

const row = (n: number): string =>
  Array.from({ length: 20 }, (_, column) => `${n * column}-${n}`).join(",");

test("F34 runs that burn processor and memory in their tools: the runs of another workspace on the same worker end, and they can be cancelled", async () => {
  const [runaway, other] = [await openClient(), await openClient()];
  const upload = await runaway.uploads.create([
    {
      path: "wide.csv",
      data: new Blob([Array.from({ length: 40_000 }, (_, n) => row(n)).join("\n")]),
    },
    { path: "long.txt", data: new Blob(["a".repeat(8 * MiB)]) },
  ]);
  const prompt = "burn the processor";
  const burning = [];
  for (let n = 0; n < 4; n++)
    burning.push(
      await runaway.tasks.create({
        agent: "gray",
        prompt,
        upload_id: upload.id,
        limits: { cost_nano_usd: 5_000_000_000 },
      }),
    );
  for (const { id } of burning)
    await until(async () => (await runaway.tasks.get(id)).usage.tool_calls > 0);

  let most = await residentBytes(worker);
  for (let n = 0; n < 10; n++) {
    const { id } = await other.tasks.create({ agent: "gray", prompt: "Say done" });
    await until(async () => (await other.tasks.get(id)).ended_at !== null);
    expect(await other.tasks.get(id)).toMatchObject({ state: "succeeded" });
    most = Math.max(most, await residentBytes(worker));
  }
  for (const { id } of burning) {
    expect(await runaway.tasks.get(id)).toMatchObject({ state: "running" });
    await runaway.tasks.cancel(id);
  }
  for (const { id } of burning)
    await until(async () => (await runaway.tasks.get(id)).state === "cancelled");
  expect(most).toBeLessThan(MOST_MEMORY);
  expect(worker.process.exitCode).toBeNull();
  await stage.lawsHold();
});

test("F34 a run that writes file after file stops at its limit of tool calls, to the file; others go on", async () => {
  const [runaway, other] = [await openClient(), await openClient()];
  const LIMIT = 100;
  const task = await runaway.tasks.create({
    agent: "gray",
    prompt: "fill the disk",
    limits: { tool_calls: LIMIT },
  });
  onTestFinished(async () => void (await runaway.tasks.cancel(task.id)));
  const { id } = await other.tasks.create({ agent: "gray", prompt: "Say done" });
  await until(async () => (await other.tasks.get(id)).state === "succeeded");
  await until(async () => (await runaway.tasks.get(task.id)).state === "paused");
  const paused = await runaway.tasks.get(task.id);
  expect(paused.parked).toMatchObject({ meter: "tool_calls", status: "exhausted", limit: LIMIT });
  expect(paused.usage.tool_calls).toBe(LIMIT);
  await stage.lawsHold();
});
