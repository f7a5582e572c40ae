import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createFrozenModels, type FrozenModels } from "./gateway/budget/frozen-models.ts";
import { createGateway, type Gateway } from "./gateway/gateway.ts";
import { keyCheckOf } from "./gateway/key-check.ts";
import type { Ledger } from "./ledger/ledger.ts";
import { recordRefusal } from "./ledger/refusals.ts";
import type { Logger } from "./platform/log.ts";
import type { Notices } from "./platform/notices.ts";
import { deriveSecret } from "./platform/secret.ts";
import { hasCode } from "./platform/system-error.ts";
import { orPortBusy, type RoleParts } from "./role-parts.ts";

export type GatewayRole = {
  gateway: Gateway;
  url: string;
  /** Lets open calls end for `drainMs`, then breaks them off and settles them as held. */
  close(options: { drainMs: number }): Promise<void>;
};

const PROCESS_FILE = "gateway-process";

/** Tells the other gateways when this one stops a model. */
function announcedFreezes(models: FrozenModels, notices: Notices): FrozenModels {
  return {
    list: models.list,
    async freeze(model) {
      await models.freeze(model);
      notices.ring("models");
    },
  };
}

/** The gateway of this process, listening. */
export async function startGatewayRole(parts: RoleParts): Promise<GatewayRole> {
  const { config, log, installation, provider, identity, ledger, processId, notices } = parts;
  const { db, rootSecret } = installation;
  const gateway = createGateway({
    ledger,
    frozenModels: announcedFreezes(createFrozenModels(db), notices),
    upstream: {
      baseUrl: provider.baseUrl,
      ...(provider.apiKey ? { apiKey: provider.apiKey } : {}),
    },
    journalKey: deriveSecret(rootSecret, "journal"),
    ...(config.GATEWAY_CACHE_SALT === "workspace"
      ? { cacheSaltKey: deriveSecret(rootSecret, "cache salt") }
      : {}),
    exactHolds: config.GATEWAY_EXACT_HOLDS === "1",
    log,
    failures: parts.failures,
    processId,
    checkKey: keyCheckOf(identity.apiKeys),
    requestLimits: parts.requestLimits,
    recordRefusal: (call) => recordRefusal(db, call),
    health: parts.health,
    leaseMs: config.GATEWAY_LEASE_MS,
    limits: {
      callTimeoutMs: config.MODEL_CALL_TIMEOUT_MS,
      idleTimeoutMs: config.MODEL_IDLE_TIMEOUT_MS,
      budgetWaitMs: config.BUDGET_WAIT_MS,
    },
  });
  notices.on("models", () => void gateway.refreshFrozenModels());
  if (installation.isAlone)
    await succeedGateway({ dataDir: installation.dataDir, ledger, processId, log });
  async function close({ drainMs }: { drainMs: number }): Promise<void> {
    await gateway.close({ drainMs });
    // Its connections are closed: it sends nothing any more.
    await ledger
      .processEnded(processId)
      .catch((error: unknown) => log.warn({ err: error }, "the gateway's end was not recorded"));
  }
  try {
    const port = config.GATEWAY_PORT;
    const { url } = await orPortBusy({ port, variable: "GATEWAY_PORT" }, () =>
      gateway.listen({ port, host: config.HOST }),
    );
    return { gateway, url, close };
  } catch (error) {
    await close({ drainMs: 0 });
    throw error;
  }
}

/**
 * Remembers in the data folder which gateway works there. The folder belongs to one process at a time, so whoever has
 * it knows that the gateway before has ended: what that one left may be reconciled. When the database does not hear of
 * it, those charges wait for the provider's figures.
 */
async function succeedGateway(options: {
  dataDir: string;
  ledger: Pick<Ledger, "processEnded">;
  processId: string;
  log: Logger;
}): Promise<void> {
  const path = join(options.dataDir, PROCESS_FILE);
  const before = await readFile(path, "utf8").catch((error: unknown) => {
    if (!hasCode(error, "ENOENT")) throw error;
    return "";
  });
  try {
    if (before.trim() !== "") await options.ledger.processEnded(before.trim());
  } catch (error) {
    options.log.warn({ err: error }, "the end of the gateway before this one was not recorded");
  }
  await writeFile(path, options.processId, { mode: 0o600 });
}
