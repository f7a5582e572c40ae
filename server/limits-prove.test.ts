import { expect, it } from "vitest";
import { runGuildhall } from "./test/product.ts";

it("limits prove: agents that race through gateways which are killed use their budget up, and never more", async () => {
  const { code, stdout, stderr } = await runGuildhall(
    ["limits", "prove", "--json", "--agents", "40", "--budget", "0.30", "--seconds", "8"].concat([
      "--kill-every-ms",
      "1500",
    ]),
    {},
  );
  const proof = JSON.parse(stdout) as {
    passed: boolean;
    faults: string[];
    budget_nano_usd: number;
    provider: { cost_nano_usd: number };
    ledger: { posted_nano_usd: number; held_nano_usd: number };
    gateways_killed: number;
  };
  expect({ code, faults: proof.faults, stderr: code === 0 ? "" : stderr }).toEqual({
    code: 0,
    faults: [],
    stderr: "",
  });
  expect(proof.provider.cost_nano_usd).toBeLessThanOrEqual(300_000_000);
  expect(proof.provider.cost_nano_usd).toBeGreaterThanOrEqual(297_000_000);
  expect(proof.ledger.posted_nano_usd).toBe(proof.provider.cost_nano_usd);
  expect(proof.gateways_killed).toBeGreaterThan(0);
}, 240_000);

it("limits prove: a number that is none is refused by the name of its option", async () => {
  const { code, stderr } = await runGuildhall(["limits", "prove", "--budget", "much"], {});
  expect(code).toBe(1);
  expect(stderr).toContain("--budget much is not possible");
});
