import { createGateway } from "../../server/gateway/gateway.ts";
import { createLedger } from "../../server/ledger/ledger.ts";
import { createDb, type DbAddress } from "../../server/platform/db.ts";
import { newId } from "../../server/platform/ids.ts";
import { createLogger } from "../../server/platform/log.ts";
import { createRequestLimits } from "../../server/platform/request-limits.ts";
import { Secret } from "../../server/platform/secret.ts";
import { benchPasswordOf } from "../database.ts";

// Our gateway as its own process, wired as server/main.ts does, ended by the end of its standard input.
// argv: {address, upstreamUrl} as JSON.

const { address, upstreamUrl } = JSON.parse(process.argv[2] ?? "") as {
  address: DbAddress;
  upstreamUrl: string;
};
const log = createLogger({ level: "error" });
const db = createDb({ address, passwordOf: benchPasswordOf, log });
const processId = newId("wrk");
const gateway = createGateway({
  ledger: createLedger({ db, processId }),
  upstream: { baseUrl: upstreamUrl, apiKey: new Secret("bench-provider-key") },
  journalKey: "bench-journal-key-of-32-characters",
  log,
  processId,
  // One token makes all calls here; what its flood limit allows is not what is measured.
  requestLimits: createRequestLimits({ RATE_LIMITS: "gateway_token=off" }),
  limits: { callTimeoutMs: 60_000, idleTimeoutMs: 30_000, budgetWaitMs: 30_000 },
});
console.log(JSON.stringify(await gateway.listen({ port: 0, host: "127.0.0.1" })));
process.stdin.resume().once("end", () => process.exit());
