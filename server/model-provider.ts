import { createSimulator } from "@guildhall/simulator/simulator.ts";
import type { Config } from "./platform/config.ts";
import { newSecret } from "./platform/ids.ts";
import { Secret } from "./platform/secret.ts";

/** Where model calls go in the end. Only the gateway gets the key. */
export type ModelProvider = {
  baseUrl: string;
  apiKey?: Secret;
  /** True when no real model is behind it, so that everything it says and costs is labelled as simulated. */
  simulated: boolean;
  close(): Promise<void>;
};

const ANTHROPIC_URL = "https://api.anthropic.com";
const FIRST_BYTE_PER_EVENT = 8;

/** The configured provider; without one the simulated model, on a loopback port of its own with a key of its own. */
export async function openModelProvider(config: Config): Promise<ModelProvider> {
  const { ANTHROPIC_API_KEY: apiKey, MODEL_BASE_URL: configured } = config;
  if (configured !== undefined || apiKey !== undefined)
    return {
      baseUrl: configured ?? ANTHROPIC_URL,
      ...(apiKey ? { apiKey } : {}),
      simulated: false,
      close: () => Promise.resolve(),
    };
  const key = newSecret();
  const perEventMs = config.SIMULATOR_EVENT_DELAY_MS;
  const simulator = createSimulator({
    seed: config.SIMULATOR_SEED,
    apiKey: key,
    latency: { firstByteMs: perEventMs * FIRST_BYTE_PER_EVENT, perEventMs },
  });
  const { url } = await simulator.listen();
  return { baseUrl: url, apiKey: new Secret(key), simulated: true, close: () => simulator.close() };
}
