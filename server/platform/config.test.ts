import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { explainConfig, readConfig } from "./config.ts";

describe("settings", () => {
  it("have defaults, and an empty variable counts as not set", () => {
    expect(readConfig({ PORT: "" })).toMatchObject({ PORT: 4000, HOST: "127.0.0.1" });
  });

  it.each([
    ["a word for a port", { PORT: "abc" }, "PORT"],
    ["a port beyond the last", { GATEWAY_PORT: "70000" }, "GATEWAY_PORT"],
    ["no address", { MODEL_BASE_URL: "models" }, "MODEL_BASE_URL"],
    ["a budget of nothing", { LOCAL_BUDGET_NANO_USD: "0" }, "LOCAL_BUDGET_NANO_USD"],
    ["heartbeats that come too late", { HEARTBEAT_MS: "5000" }, "HEARTBEAT_MS"],
    ["a service without a bucket", { S3_ENDPOINT: "http://127.0.0.1:9000" }, "S3_BUCKET"],
    [
      "a key without its secret",
      { S3_BUCKET: "files", S3_ACCESS_KEY_ID: "id" },
      "S3_SECRET_ACCESS_KEY",
    ],
    ["everybody as a proxy", { TRUSTED_PROXIES: "10.0.0.1, 0.0.0.0/0" }, "TRUSTED_PROXIES"],
    ["a limit that is not known", { RATE_LIMITS: "users=1/60" }, "RATE_LIMITS"],
    ["a limit of nothing", { RATE_LIMITS: "user=0/60" }, "RATE_LIMITS"],
    ["a margin above all", { MARGIN_GUARD_PERCENT: "101" }, "MARGIN_GUARD_PERCENT"],
    ["production without a secret", { NODE_ENV: "production" }, "GUILDHALL_SECRET"],
    [
      "production with a short secret",
      { NODE_ENV: "production", GUILDHALL_SECRET: "changeme" },
      "GUILDHALL_SECRET",
    ],
  ])("%s is refused by name", (_, env, field) => {
    expect(() => readConfig(env)).toThrow(
      expect.objectContaining({
        code: "config_invalid",
        fields: [expect.objectContaining({ field })],
      }) as Error,
    );
  });

  it("tell where a value came from, and never show a secret", () => {
    const env = { PORT: "4400", ANTHROPIC_API_KEY: "sk-very-secret" };
    const settings = explainConfig(env);
    const named = (name: string) => settings.find((setting) => setting.name === name);
    expect(named("PORT")).toMatchObject({ value: "4400", source: "environment" });
    expect(named("HOST")).toMatchObject({ source: "default" });
    expect(named("DATABASE_URL")).toMatchObject({ value: "", source: "not set" });
    const shown =
      JSON.stringify(settings) + JSON.stringify(readConfig(env)) + inspect(readConfig(env));
    expect(shown).not.toContain("very-secret");
    expect(named("ANTHROPIC_API_KEY")).toMatchObject({ value: "***" });
  });
});
