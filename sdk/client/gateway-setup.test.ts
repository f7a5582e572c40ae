import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { gatewayExports, gatewaySetups } from "./gateway-setup.ts";

const access = { baseUrl: "https://models.example.com/it's/$HOME", key: "ghk_ws_1.key_1.secret" };

it("a shell takes the lines as they are, whatever the address contains", () => {
  const script = `${gatewayExports(access)}\nprintf '%s %s' "$ANTHROPIC_BASE_URL" "$ANTHROPIC_API_KEY"`;
  const { stdout } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
  expect(stdout).toBe(`${access.baseUrl} ${access.key}`);
});

it("every example has the address and the key in it", () => {
  const plain = { ...access, baseUrl: "https://models.example.com" };
  for (const setup of Object.values(gatewaySetups)) {
    expect(setup(plain)).toContain(plain.baseUrl);
    expect(setup(plain)).toContain(plain.key);
  }
});
