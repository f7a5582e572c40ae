import { createSimulator } from "@guildhall/simulator/simulator.ts";
import type { Config } from "./platform/config.ts";
import { deriveSecret, Secret } from "./platform/secret.ts";
import type { Roles } from "./roles.ts";

/** Where model calls go in the end. Only the gateway gets the key. */
export type ModelProvider = {
  baseUrl: string;
  apiKey?: Secret;
  /** True when no real model is behind it, so that everything it says and costs is labelled as simulated. */
  simulated: boolean;
  close(): Promise<void>;
};

/** What a start says when no real model answers. */
export const SIMULATED =
  "SIMULATED: no ANTHROPIC_API_KEY or MODEL_BASE_URL is set; its dollars are not real";

const ANTHROPIC_URL = "https://api.anthropic.com";
const FIRST_BYTE_PER_EVENT = 8;

/** The key of the installation's simulated model, which every process of it can derive. */
const simulatorKey = (rootSecret: Secret): Secret =>
  new Secret(deriveSecret(rootSecret, "simulated model"));

/** The simulated model on a loopback port of its own, with the installation's key. */
export async function startSimulatedModel(
  config: Config,
  rootSecret: Secret,
): Promise<ModelProvider> {
  const apiKey = simulatorKey(rootSecret);
  const perEventMs = config.SIMULATOR_EVENT_DELAY_MS;
  const simulator = createSimulator({
    seed: config.SIMULATOR_SEED,
    apiKey: apiKey.reveal(),
    latency: { firstByteMs: perEventMs * FIRST_BYTE_PER_EVENT, perEventMs },
  });
  const { url } = await simulator.listen();
  return { baseUrl: url, apiKey, simulated: true, close: () => simulator.close() };
}

/** True when a process with these settings and all roles brings a simulated model of its own. */
export const bringsOwnModel = (config: Config): boolean =>
  (config.MODEL_BASE_URL ?? config.ANTHROPIC_API_KEY ?? config.SIMULATOR_URL) === undefined;

/**
 * The configured provider; with all roles and none configured, the simulated model. Without the role gateway it only
 * says who answers.
 */
export async function openModelProvider(
  config: Config,
  { roles, rootSecret }: { roles: Roles; rootSecret: Secret },
): Promise<ModelProvider> {
  if (roles.has("gateway") && bringsOwnModel(config))
    return startSimulatedModel(config, rootSecret);
  const { ANTHROPIC_API_KEY: key, MODEL_BASE_URL: configured, SIMULATOR_URL: simulator } = config;
  const apiKey = simulator === undefined ? key : simulatorKey(rootSecret);
  return {
    baseUrl: simulator ?? configured ?? ANTHROPIC_URL,
    ...(apiKey && roles.has("gateway") ? { apiKey } : {}),
    simulated: simulator !== undefined,
    close: () => Promise.resolve(),
  };
}
