import { afterAll, beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { createSimulator, type Simulator } from "../simulator/simulator.ts";
import { makeDataDir, type Product, removeDataDir, startProduct } from "./test/product.ts";

const MODEL = "claude-sonnet-5-5";
const KEY = "sk-provider-0123456789-never-shown";
let simulator: Simulator;
let product: Product;
let gateway: { base_url: string; key: string };

beforeAll(async () => {
  // The first call is billed at ten times of what it can have used; the others are as they should be.
  simulator = createSimulator({
    apiKey: KEY,
    latency: { firstByteMs: 0, perEventMs: 0 },
    faults: [{ kind: "usage", form: "times_ten", times: 1 }],
  });
  const { url } = await simulator.listen();
  product = await startProduct({
    dataDir: await makeDataDir(),
    env: { MODEL_BASE_URL: url, ANTHROPIC_API_KEY: KEY },
  });
  const { stdout } = await product.cli("gateway", "env", "--name", "laptop", "--json");
  gateway = z.object({ base_url: z.string(), key: z.string() }).parse(JSON.parse(stdout));
});
afterAll(async () => {
  await product.stop();
  await simulator.close();
  await removeDataDir(product.dataDir);
});

async function call(): Promise<{ status: number; code: string | undefined }> {
  const response = await fetch(`${gateway.base_url}/v1/messages`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-api-key": gateway.key,
      "anthropic-version": "2023-06-01",
    },
    body: JSON.stringify({
      model: MODEL,
      max_tokens: 60,
      messages: [{ role: "user", content: "Say something." }],
    }),
  });
  const body = (await response.json()) as { error?: { code?: string } };
  return { status: response.status, code: body.error?.code };
}

it("a model that cost more than its bound is stopped, told by the command, and goes on once an operator lifts it", async () => {
  expect((await product.cli("models", "frozen")).stdout).toBe("✓ no model is stopped\n");
  expect(await call()).toEqual({ status: 200, code: undefined });
  expect(await call()).toEqual({ status: 503, code: "model_frozen" });
  const frozen = await product.cli("models", "frozen");
  expect(frozen.stdout).toMatch(
    /^✖ claude-sonnet-5-5 {2}since \d{4}-\S+, by hold_\w+: \d+ nano-USD too much\n$/,
  );
  expect(JSON.parse((await product.cli("models", "frozen", "--json")).stdout)).toMatchObject({
    data: [{ combination: MODEL }],
  });
  const wrong = await product.cli("models", "lift", "claude-opus-5-5");
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toContain("`guildhall models frozen` lists what is");
  expect(await product.cli("models", "lift", MODEL)).toMatchObject({ code: 0 });
  expect((await product.cli("models", "frozen")).stdout).toBe("✓ no model is stopped\n");
  // The gateway hears of it by itself.
  await expect
    .poll(async () => (await call()).status, { timeout: 30_000, interval: 250 })
    .toBe(200);
}, 90_000);
