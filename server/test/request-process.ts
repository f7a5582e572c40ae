import { createRequestLeases } from "../ledger/request-leases.ts";
import { systemClock } from "../platform/clock.ts";
import { createDb } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { createLogger } from "../platform/log.ts";
import { testPasswordOf } from "./postgres.ts";

/** A process of its own, which a test may kill: takes requests one after the other and writes a line for each it was given. */
async function spend(databaseUrl: string, workspaceId: string): Promise<void> {
  const url = new URL(databaseUrl);
  const db = createDb({
    address: { host: url.hostname, port: Number(url.port), database: url.pathname.slice(1) },
    passwordOf: testPasswordOf,
    log: createLogger({ level: "silent" }),
  });
  const leases = createRequestLeases({ db, clock: systemClock, nodeId: newId("wrk") });
  for (;;) {
    const admission = await leases.take(workspaceId);
    if (admission.status === "exhausted") break;
    await new Promise<void>((written) => process.stdout.write("admitted\n", () => written()));
  }
  await db.close();
}

if (process.argv[1] === import.meta.filename)
  await spend(process.argv[2] ?? "", process.argv[3] ?? "");
