import { afterAll, beforeAll, expect, it } from "vitest";
import { meSchema, type Usage } from "@guildhall/sdk/contract/workspace.ts";
import { makeDataDir, type Product, removeDataDir, startProduct } from "./test/product.ts";

let product: Product;
let workspaceId: string;

beforeAll(async () => {
  product = await startProduct({ dataDir: await makeDataDir() });
  workspaceId = meSchema.parse(await (await product.api("/v1/me")).json()).workspace.id;
});
afterAll(async () => {
  await product.stop();
  await removeDataDir(product.dataDir);
});

async function limitOf(meter: string): Promise<number | null | undefined> {
  const usage = (await (await product.api("/v1/usage")).json()) as Usage;
  return usage.meters.find((item) => item.meter === meter)?.limit;
}

it("the operator puts a workspace of the running installation on a plan, and it counts at once", async () => {
  // Its own budget, which it got at the first start, would be the lesser one otherwise.
  await product.cli("limit", "set", "none");
  const changed = await product.cli("operator", "plan", workspaceId, "starter", "--json");
  expect(changed).toMatchObject({ code: 0, stderr: "" });
  expect(JSON.parse(changed.stdout)).toMatchObject({ workspace_id: workspaceId });
  expect(await limitOf("concurrent_tasks")).toBe(3);
  expect(await limitOf("model_cost")).toBe(5_000_000_000);
  const me = meSchema.parse(await (await product.api("/v1/me")).json());
  expect(me.workspace.plan).toBe("starter");
  expect(await limitOf("api_requests")).toBe(1_000);
});

it("what the operator agreed, and what the workspace opted in to, stays when the plan changes", async () => {
  const agreed = await product.cli("operator", "agree", workspaceId, "agent_time", "120");
  expect(agreed.stdout).toContain("2 h 0 min");
  const overage = await product.cli("limit", "overage", "10.00");
  expect(overage.stdout).toContain("$15.00 in all");
  await product.cli("operator", "plan", workspaceId, "free");
  expect(await limitOf("agent_time")).toBe(7_200_000);
  expect(await limitOf("model_cost")).toBe(10_500_000_000);
  const account = await product.cli("account");
  expect(account.stdout).toContain("plan free");
  expect(account.stdout).toMatch(/model budget +\$0\.50\d* +– +\+ \$10\.00\d* +– +\$10\.50/);
  expect(account.stdout).toMatch(/agent time +16 h 40 min +2 h 0 min/);
  await product.cli("operator", "agree", workspaceId, "agent_time", "plan");
  expect(await limitOf("agent_time")).toBe(60_000_000);
  const minutes = await product.cli("limit", "overage", "60", "--meter", "agent_time");
  expect(minutes.stdout).toContain("may use 1 h 0 min a month beyond what its plan includes");
  expect(await limitOf("agent_time")).toBe(63_600_000);
});

it("a workspace cannot set itself more than its plan allows, and is told how much that is", async () => {
  const refused = await product.cli("limit", "set", "11.00");
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain("($10.50)");
  expect((await product.cli("limit", "set", "2.00")).code).toBe(0);
  expect(await limitOf("model_cost")).toBe(2_000_000_000);
  const raised = await product.cli("limit", "raise", "3.00", "--until", "2h");
  expect(raised.stdout).toMatch(/may spend \$3\.00\d* a month\. Until .* UTC, then as before\./);
  expect((await product.cli("limit", "list")).stdout).toMatch(/until .* UTC, then \$2\.00/);
  expect(await product.cli("limit", "set", "3.00", "--until", "2026-12-01")).toMatchObject({
    code: 2,
  });
});

it.each([
  ["an unknown workspace", ["plan", "ws_nobody", "pro"], "no workspace ws_nobody"],
  ["an unknown plan", ["plan", "ws_nobody", "gold"], "free, starter, pro"],
  ["an unknown meter", ["agree", "ws_nobody", "storage", "1"], "model_cost"],
  ["half a task", ["agree", "ws_nobody", "concurrent_tasks", "0.5"], "whole number"],
  ["an unknown payer", ["account-limit", "ba_nobody", "model_cost", "1"], "no billing account"],
])("%s is refused with what to give, and nothing changes", async (_title, args, message) => {
  const result = await product.cli("operator", ...args);
  expect(result.code).toBe(1);
  expect(result.stderr).toContain(message);
});

it("usage tells the meters and what is only counted, for people and for programs", async () => {
  const { stdout } = await product.cli("usage");
  expect(stdout).toContain("api_requests");
  expect(stdout).toContain("ALSO COUNTED");
  expect(stdout).toContain("storage_bytes");
});
