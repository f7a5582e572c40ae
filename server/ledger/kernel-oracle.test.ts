import { it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { commands } from "./command-fixture.ts";
import { installClock } from "../test/clock.ts";
import { playOnPostgres } from "./play-database-fixture.ts";
import { readRegressions, sizes, timeLimitMs, tryAll } from "./proof-fixture.ts";

const { db, admin } = await createTestDatabase({ maxConnections: 8 });
await installClock(admin);

const runs = Math.ceil(sizes.postgres / 2);

it(
  `the database answers every sequence of commands as the kernel does, and ends with the same balances, in ${runs} tries`,
  () =>
    tryAll({
      property: "postgres",
      runs,
      rounds: commands.map((all) => all.map((command) => [command])),
      play: (rounds) => playOnPostgres({ db, admin }, rounds),
    }),
  timeLimitMs(runs, 3_000),
);

it.each(readRegressions())("the database and the kernel agree about $name", async (found) => {
  await playOnPostgres({ db, admin }, found.regression.rounds);
});
