import { parseArgs } from "node:util";
import { hasRedis, startRedis } from "../../server/test/redis.ts";
import { openInstallationOfRoles } from "../../server/test/role-processes.ts";
import { TIMES, unlessDefault } from "../times.ts";
import { createRandom } from "./random.ts";
import { playRound } from "./round.ts";
import { openSlots, type Slot } from "./slots.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  console.error(
    "npm run chaos -- --minutes 5 --seed 42: minutes is a number above 0, seed an integer.",
  );
  process.exit(2);
}

console.log(`seed ${seed}`);
const redis = hasRedis ? await startRedis() : undefined;
const installation = await openInstallationOfRoles({
  ...TIMES,
  ...(redis === undefined ? {} : { REDIS_URL: redis.url }),
  ...unlessDefault({ GATEWAY_LEASE_MS: "3000", MODEL_IDLE_TIMEOUT_MS: "5000" }),
});
let exitCode = 0;
let slots: readonly Slot[] = [];
try {
  slots = await openSlots(installation);
  const scene = { installation, redis, slots, random: createRandom(seed) };
  const token = await installation.createKey();
  const untilMs = performance.now() + minutes * 60_000;
  let rounds = 0;
  while (performance.now() < untilMs) {
    rounds += 1;
    const beganMs = performance.now();
    const told = await playRound(scene, token);
    console.log(`${rounds}. ${told}  (${((performance.now() - beganMs) / 1_000).toFixed(1)} s)`);
  }
  const { calls, cost_nano_usd: cost } = installation.simulator.meter.report().totals;
  console.log(
    `${rounds} rounds, ${calls} model calls, ${cost} nano-USD: posted to the nano, every law holds.`,
  );
} catch (error) {
  console.error(`seed ${seed} found something:`, error);
  exitCode = 1;
} finally {
  // Or what is ended now would be started again.
  for (const slot of slots) slot.close();
  await installation.close();
  await redis?.close();
}
process.exit(exitCode);
