import { expect, it } from "vitest";
import { AppError } from "../platform/errors.ts";
import { createTestDatabase } from "../test/database.ts";
import { createClaimedRun, createTenant } from "../test/tenant.ts";
import { request } from "./fixture.ts";
import { createLedger } from "./ledger.ts";

const { db, admin } = await createTestDatabase();

async function balanceOf(run: { runId: string }): Promise<{ posted: number; held: number }> {
  const { rows } = await admin.query<{ posted: string; held: string }>(
    "SELECT posted, held FROM budgets WHERE level = 'run' AND scope_id = $1 AND meter = 'model_cost'",
    [run.runId],
  );
  return { posted: Number(rows[0]?.posted ?? 0), held: Number(rows[0]?.held ?? 0) };
}

it.each([
  [
    "as a database that is away",
    new AppError({
      code: "database_unavailable",
      status: 503,
      publicMessage: "The answer was lost.",
      retryable: true,
    }),
  ],
  ["by any other name", Object.assign(new Error("read EHOSTUNREACH"), { code: "EHOSTUNREACH" })],
])(
  "what a lost answer leaves open is ended at no cost by the process that lives on: %s",
  async (_how, lostAnswer) => {
    const tenant = await createTenant(admin);
    const { workspaceId } = tenant;
    const run = await createClaimedRun(admin, tenant);
    let connected = false;
    let monotonicMs = 0;
    /** The commit arrives, its answer does not. */
    const lossy: typeof db = {
      ...db,
      async ledger(statement) {
        const rows = await db.ledger<never>(statement);
        if (connected) return rows;
        throw lostAnswer;
      },
    };
    const clock = { now: () => new Date(), monotonicMs: () => monotonicMs };
    const unlucky = createLedger({ db: lossy, processId: "wrk_unlucky", clock });
    const sent = request(run);
    const marked = request(run, { dispatch: false });
    await expect(unlucky.reserve(sent)).rejects.toBe(lostAnswer);
    connected = true;
    await unlucky.processSeen("gateway");
    await unlucky.reserve(marked);
    connected = false;
    await expect(unlucky.markDispatched(workspaceId, marked.holdId)).rejects.toBe(lostAnswer);
    connected = true;
    const rule = { deadAfterMs: 60_000, heldForMs: 60_000, atMost: 100 };
    await unlucky.reapHolds(rule);
    await unlucky.endUnresolved();
    // Still possibly at work in the database.
    expect(await balanceOf(run)).toMatchObject({ held: 400 });
    monotonicMs += 10_000;
    await unlucky.endUnresolved();
    expect(await balanceOf(run)).toMatchObject({ held: 0, posted: 0 });
  },
);

it("a hold that cannot be ended stops neither the sign of life nor the end of the others", async () => {
  const run = await createClaimedRun(admin, await createTenant(admin));
  let connected = false;
  let monotonicMs = 0;
  let cursed: string | undefined;
  const lossy: typeof db = {
    ...db,
    async ledger(statement) {
      if (cursed !== undefined && JSON.stringify(statement.values).includes(cursed))
        throw new Error("this hold cannot be ended");
      const rows = await db.ledger<never>(statement);
      if (connected) return rows;
      throw new Error("read ECONNRESET");
    },
  };
  const clock = { now: () => new Date(), monotonicMs: () => monotonicMs };
  const unlucky = createLedger({ db: lossy, processId: "wrk_cursed", clock });
  const [first, second] = [request(run), request(run)];
  await expect(unlucky.reserve(first)).rejects.toThrow("ECONNRESET");
  await expect(unlucky.reserve(second)).rejects.toThrow("ECONNRESET");
  connected = true;
  cursed = first.holdId;
  monotonicMs += 10_000;
  await unlucky.processSeen("gateway");
  expect(await unlucky.endUnresolved()).toMatchObject([{ holdId: first.holdId }]);
  expect(await balanceOf(run)).toMatchObject({ held: 200 });
  cursed = undefined;
  expect(await unlucky.endUnresolved()).toEqual([]);
  expect(await balanceOf(run)).toMatchObject({ held: 0, posted: 0 });
});
