import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createClaimedRun, createTenant } from "../test/tenant.ts";
import { request } from "./fixture.ts";
import { createLedger } from "./ledger.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_test" });

// The day turns after so many looks at the clock, that is in the middle of a transaction.
await admin.query(`CREATE SEQUENCE looks; GRANT USAGE ON SEQUENCE looks TO PUBLIC;
  CREATE TABLE turns (after_looks bigint NOT NULL); INSERT INTO turns VALUES (1000000); GRANT SELECT ON turns TO PUBLIC;
  CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$SELECT timestamptz '2027-05-31T23:59:59.999Z' + CASE WHEN nextval('public.looks') > (SELECT after_looks FROM public.turns)
      THEN interval '1 millisecond' ELSE interval '0' END$$`);

async function turnAfter(looks: number): Promise<void> {
  await admin.query("SELECT setval('looks', 1)");
  await admin.query("UPDATE turns SET after_looks = $1", [looks]);
}

/** More than a transaction of the ledger looks at the clock. */
const LOOKS = 30;

it("a call is admitted and agent time is booked whenever the day turns", async () => {
  const refused: string[] = [];
  for (let looks = 1; looks < LOOKS; looks++) {
    await turnAfter(1_000_000);
    const tenant = await createTenant(admin, { agentTimeLimitMs: 20_000 });
    const run = await createClaimedRun(admin, tenant);
    const other = await createClaimedRun(admin, tenant);
    await turnAfter(looks);
    const call = await ledger.reserve(request(run)).catch((error: unknown) => ({ status: error }));
    await turnAfter(looks);
    // The second slice is not sure to fit, so it is looked at by itself.
    const first = await ledger.leaseAgentTime({ ...other, bookingNo: 1, sliceMs: 15_000 });
    const second = await ledger
      .leaseAgentTime({ ...other, bookingNo: 2, sliceMs: 15_000 })
      .catch((error: unknown) => ({ status: error }));
    for (const { status } of [call, first, second])
      if (status !== "held" && status !== "granted") refused.push(`${looks}: ${String(status)}`);
  }
  expect(refused).toEqual([]);
});
