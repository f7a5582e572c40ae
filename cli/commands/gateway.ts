import { Option, type Command } from "commander";
import {
  gatewayExports,
  gatewaySetups,
  gatewayVariables,
  type GatewayAccess,
  type GatewayClient,
} from "@guildhall/sdk/client/gateway-setup.ts";
import type { Context } from "../context.ts";
import { type ExitCode, exitCode, UsageError } from "../exit.ts";
import { parseUsd, usd } from "../format.ts";
import type { Run } from "../run.ts";

const clients: Readonly<Record<string, GatewayClient>> = {
  typescript: "typescript",
  python: "python",
  "claude-code": "claudeCode",
  curl: "curl",
};

type Flags = { key?: string; name: string; cap?: string; client?: string };
type Key = { key: string; keyId: string | undefined; capNanoUsd: number | undefined };

function capOf({ key, cap }: Flags): number | undefined {
  if (cap === undefined) return undefined;
  if (key !== undefined)
    throw new UsageError("--cap is for the key that is made here; leave --key out.");
  const value = parseUsd(cap);
  if (value === undefined || value === 0)
    throw new UsageError(`--cap ${cap}: give dollars a month, for example 25.00.`);
  return value;
}

/** A key that can call models and nothing else. One whose limit cannot be set is not left behind. */
async function makeKey({ client }: Context, flags: Flags): Promise<Key> {
  const capNanoUsd = capOf(flags);
  const made = await client.apiKeys.create({ name: flags.name, scopes: ["models:invoke"] });
  if (capNanoUsd !== undefined) {
    try {
      await client.limits.set({
        meter: "model_cost",
        level: "key",
        scope_id: made.id,
        amount: capNanoUsd,
      });
    } catch (error) {
      await client.apiKeys.revoke(made.id);
      throw error;
    }
  }
  return { key: made.key, keyId: made.id, capNanoUsd };
}

function asText(access: GatewayAccess, key: Key): string {
  const cap = key.capNanoUsd === undefined ? "" : `, at most ${usd(key.capNanoUsd)} a month`;
  const about =
    key.keyId === undefined
      ? []
      : [`# ${key.keyId}: calls models${cap}. The only time that the key is shown.`];
  return [
    ...about,
    gatewayExports(access),
    "# These variables are all that `new Anthropic()` in TypeScript, `Anthropic()` in Python and `claude` need.",
  ].join("\n");
}

async function showEnv(context: Context, flags: Flags): Promise<ExitCode> {
  const cap = capOf(flags);
  if (flags.key !== undefined && !/^ghk_\S+$/.test(flags.key))
    throw new UsageError("--key: an API key of this installation begins with ghk_.");
  const { gateway } = await context.client.me();
  const key: Key =
    flags.key === undefined
      ? await makeKey(context, flags)
      : { key: flags.key, keyId: undefined, capNanoUsd: cap };
  const access = { baseUrl: gateway.base_url, key: key.key };
  const client = flags.client === undefined ? undefined : clients[flags.client];
  if (context.json)
    context.print(
      JSON.stringify({
        base_url: access.baseUrl,
        key: access.key,
        key_id: key.keyId ?? null,
        cap_nano_usd: key.capNanoUsd ?? null,
        env: gatewayVariables(access),
      }),
    );
  else context.print(client === undefined ? asText(access, key) : gatewaySetups[client](access));
  return exitCode.ok;
}

/** `guildhall gateway …`: model calls by other programs, within this workspace's budgets. */
export function addGatewayCommands(program: Command, run: Run): void {
  const gateway = program.command("gateway").description("model calls by any Anthropic client");
  gateway
    .command("env")
    .description('makes a key and prints what clients need: eval "$(guildhall gateway env)"')
    .option("--name <name>", "of the new key", "gateway")
    .option("--cap <usd>", "the most that the new key may spend a month")
    .option("--key <key>", "an existing key, instead of a new one")
    .addOption(
      new Option("--client <client>", "an example for one client instead").choices(
        Object.keys(clients),
      ),
    )
    .action(run(showEnv));
}
