import { it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { roundsAtOnce } from "./command-fixture.ts";
import { installClock } from "../test/clock.ts";
import { playOnPostgres } from "./play-database-fixture.ts";
import { sizes, timeLimitMs, tryAll } from "./proof-fixture.ts";

const { db, admin } = await createTestDatabase({ maxConnections: 8 });
await installClock(admin);

const runs = Math.floor(sizes.postgres / 2);

it(
  `what happens at once over 8 connections, some of which break, happened in some order of the kernel, in ${runs} tries`,
  () =>
    tryAll({
      property: "concurrent",
      runs,
      rounds: roundsAtOnce,
      play: (rounds) => playOnPostgres({ db, admin }, rounds),
    }),
  timeLimitMs(runs, 3_000),
);
