import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import type { Me, Usage } from "@guildhall/sdk/contract/workspace.ts";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type OtherProvider, startOtherProvider } from "./test/other-provider.ts";
import { makeDataDir, type Product, removeDataDir, startProduct } from "./test/product.ts";

// A command takes a third of a second on a free machine, and many times that on one that runs a whole suite.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const KEY = "key-of-the-other-provider";

let provider: OtherProvider;
let product: Product;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "guildhall-input-"));
  await mkdir(join(folder, "data"));
  await writeFile(join(folder, "data/harvest.csv"), "field,tons\nnorth,12\n");
  await writeFile(join(folder, "data/prices.csv"), "crop,price\nrye,3\n");
  provider = await startOtherProvider();
  product = await startProduct({
    dataDir: await makeDataDir(),
    env: { MODEL_BASE_URL: provider.url, ANTHROPIC_API_KEY: KEY },
  });
});

afterAll(async () => {
  await product?.stop();
  await provider?.close();
  await rm(folder, { recursive: true, force: true });
  if (product) await removeDataDir(product.dataDir);
});

async function read<T>(path: string): Promise<T> {
  return (await (await product.api(path)).json()) as T;
}

async function runJob(out: string) {
  const input = join(folder, "data");
  const prompt = "Profile these CSV files and write report.md";
  return product.cli(
    "task",
    "run",
    "--agent",
    "gray",
    "-i",
    input,
    "-o",
    join(folder, out),
    prompt,
  );
}

async function expectLedgerEqualsBill(): Promise<void> {
  const usage = await read<Usage>("/v1/usage");
  const { bill } = provider;
  expect(usage.by_model).toMatchObject([
    {
      calls: bill.calls,
      input_tokens: bill.inputTokens,
      output_tokens: bill.outputTokens,
      cache_read_tokens: 0,
      cache_write_tokens: 0,
    },
  ]);
  // The published list price of the default model, $2 and $10 a million tokens, reckoned by hand.
  const expected = bill.inputTokens * 2_000 + bill.outputTokens * 10_000;
  expect(usage.by_model[0]?.spent_nano_usd).toBe(expected);
  expect(usage.meters.find(({ meter }) => meter === "model_cost")).toMatchObject({
    used: expected,
    held: 0,
  });
}

async function expectLaws(): Promise<void> {
  const laws = await product.cli("verify", "--quiet");
  expect(laws).toMatchObject({ code: 0, stderr: "" });
}

test("the same job runs on another provider, which nobody takes for the simulation", async () => {
  expect(product.output()).not.toContain("SIMULATED");
  expect(product.output()).toContain(`model      ${provider.url}`);
  expect((await read<Me>("/v1/me")).model).toEqual({ simulated: false, base_url: provider.url });

  const { code, stdout } = await runJob("first");
  expect(stdout).toContain("✓ done");
  expect(code).toBe(0);
  expect(await readFile(join(folder, "first/report.md"), "utf8")).toBe(
    "# Vu\n\n- harvest.csv\n- prices.csv\n",
  );

  expect(provider.bill.calls).toBe(3);
  expect((await read<Usage>("/v1/usage")).simulated).toBe(false);
  await expectLedgerEqualsBill();
  await expectLaws();
});

test("the provider gets its own key, never a run's or the user's", () => {
  expect([...provider.keysSeen]).toEqual([`${KEY} undefined`]);
});

test("a provider that fails for a while costs time, not money: the job ends and the bill still equals the ledger", async () => {
  provider.failNext(500, 500, 529);
  const before = provider.bill.calls;
  const { code } = await runJob("second");
  expect(code).toBe(0);
  expect(provider.bill.calls).toBe(before + 3);
  await expectLedgerEqualsBill();
  await expectLaws();
});

test("a refusal that no repetition can change ends the task with the provider's own words, and costs nothing", async () => {
  provider.failNext(400);
  const before = { ...provider.bill };
  const result = await product.cli("task", "run", "-a", "gray", "-f", "--json", "Look around");
  expect(result.code).toBe(1);
  const last = JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "") as { stream_id: string };
  expect(last).toMatchObject({
    type: "task.failed",
    data: { message: expect.stringContaining("Pas maintenant.") as string },
  });
  const task = await read<TaskDetail>(`/v1/tasks/${last.stream_id}`);
  expect(task).toMatchObject({ state: "failed", usage: { spent_nano_usd: 0, held_nano_usd: 0 } });
  expect(provider.bill).toEqual(before);
  await expectLedgerEqualsBill();
  await expectLaws();
});
