import { createLedger } from "../../ledger/ledger.ts";
import { createDb } from "../../platform/db.ts";
import { newId } from "../../platform/ids.ts";
import { createLogger } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { createGateway } from "../gateway.ts";

// A gateway over a test database, for tests that kill it: node kill-process.ts <owner url> <upstream url>
const [ownerUrl = "", upstreamUrl = ""] = process.argv.slice(2);
const { hostname, port, pathname } = new URL(ownerUrl);
const log = createLogger({ level: "silent" });
const db = createDb({
  address: { host: hostname, port: Number(port), database: pathname.slice(1) },
  passwordOf: (role) => `test-${role}`,
  log,
});
const processId = newId("wrk");
const gateway = createGateway({
  ledger: createLedger({ db, processId }),
  upstream: { baseUrl: upstreamUrl, apiKey: new Secret("sk-provider-0123456789-never-shown") },
  journalKey: "a journal key of a test, long enough",
  log,
  processId,
  limits: { callTimeoutMs: 20_000, idleTimeoutMs: 10_000, budgetWaitMs: 300 },
});
const { url } = await gateway.listen({ port: 0, host: "127.0.0.1" });
process.stdout.write(`${JSON.stringify({ url, processId })}\n`);
