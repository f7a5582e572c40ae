import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "../../server/test/free-port.ts";
import { startProgram } from "../processes.ts";
import type { Peer } from "./peer.ts";
import { MODEL } from "./target.ts";

const START_MS = 120_000;
/** For load: money that nothing here uses up. */
const PLENTY_USD = 1_000_000;

// The strongest budget that it has without a database, whose client cannot be had everywhere: a budget per key, given by
// its hook for authentication, with its own checks and its own reservations of the worst case on. Its counters are in
// memory; nothing of it is durable.
const AUTH = `from litellm.proxy._types import UserAPIKeyAuth

async def user_api_key_auth(request, api_key):
    usd = float(api_key.split("-")[2])
    return UserAPIKeyAuth(api_key=api_key, max_budget=usd, spend=0.0)
`;

function configOf(upstreamUrl: string): object {
  return {
    model_list: [
      {
        model_name: MODEL,
        litellm_params: {
          model: `anthropic/${MODEL}`,
          api_base: upstreamUrl,
          api_key: "bench-provider-key",
        },
      },
    ],
    general_settings: {
      custom_auth: "bench_auth.user_api_key_auth",
      custom_auth_run_common_checks: true,
    },
    router_settings: { num_retries: 0 },
  };
}

/** The key of a budget of its own. */
const keyOf = (usd: number, n: number): string => `sk-bench-${usd}-${n}`;

/** LiteLLM's proxy in front of the provider, from the program that LITELLM_BIN names. Its budget is on. */
export async function startLitellm(upstreamUrl: string): Promise<Peer> {
  const command = process.env["LITELLM_BIN"];
  if (!command)
    throw new Error(
      "LITELLM_BIN is not set; python3 -m venv v && v/bin/pip install 'litellm[proxy]', then LITELLM_BIN=v/bin/litellm",
    );
  // It would fetch prices from elsewhere at its start.
  const env = {
    LITELLM_LOCAL_MODEL_COST_MAP: "True",
    LITELLM_LOG: "ERROR",
    LITELLM_MASTER_KEY: `sk-${randomBytes(32).toString("hex")}`,
  };
  const { stdout } = await promisify(execFile)(command, ["--version"], {
    env: { ...process.env, ...env },
  });
  const folder = await mkdtemp(join(tmpdir(), "guildhall-bench-litellm-"));
  await writeFile(join(folder, "bench_auth.py"), AUTH);
  // JSON is YAML.
  const config = join(folder, "config.yaml");
  await writeFile(config, JSON.stringify(configOf(upstreamUrl)));
  const port = await freePort();
  const litellm = await startProgram({
    command,
    args: ["--config", config, "--host", "127.0.0.1", "--port", String(port)],
    port,
    env,
    startMs: START_MS,
  });
  const name = `LiteLLM ${/\d+\.\d+\.\d+/.exec(stdout)?.[0] ?? ""}`;
  const targetOf = (usd: number, n: number) => ({
    name,
    url: litellm.url,
    headersOf: () => ({ "x-api-key": keyOf(usd, n) }),
  });
  return {
    url: litellm.url,
    target: targetOf(PLENTY_USD, 0),
    targetWithBudget: targetOf,
    async close() {
      await litellm.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
