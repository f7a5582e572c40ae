import { z } from "zod";
import { createGateway } from "../../gateway/gateway.ts";
import { createLedger } from "../../ledger/ledger.ts";
import { recordRefusal } from "../../ledger/refusals.ts";
import { createDb } from "../../platform/db.ts";
import { createLogger } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { readSettings, sayReady } from "./child.ts";

/** What a gateway of the demonstration is told. */
const settingsSchema = z.object({
  processId: z.string(),
  database: z.object({ host: z.string(), port: z.int(), database: z.string() }),
  /** Of the role `guildhall_ledger`, the only one that a gateway needs. */
  password: z.string(),
  upstreamUrl: z.string(),
  budgetWaitMs: z.int(),
});
export type GatewaySettings = z.infer<typeof settingsSchema>;

const settings = settingsSchema.parse(await readSettings());
const log = createLogger({ level: "fatal" });
const db = createDb({ address: settings.database, passwordOf: () => settings.password, log });
const { processId, budgetWaitMs } = settings;
const gateway = createGateway({
  ledger: createLedger({ db, processId }),
  upstream: { baseUrl: settings.upstreamUrl, apiKey: new Secret("sk-simulated-0123456789") },
  journalKey: "the journal of the demonstration is never read again",
  log,
  processId,
  recordRefusal: (call) => recordRefusal(db, call),
  limits: { callTimeoutMs: 60_000, idleTimeoutMs: 20_000, budgetWaitMs },
});
sayReady(await gateway.listen({ port: 0, host: "127.0.0.1" }));
