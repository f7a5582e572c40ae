import { parseArgs } from "node:util";
import { benchGateway } from "./gateway/gateway.ts";
import { benchRace } from "./gateway/race.ts";
import { benchHolds, benchHoldsHot, benchHoldsMany } from "./holds/holds.ts";
import { benchTaskStart } from "./task-start.ts";
import { benchTaskWake } from "./task-wake.ts";

type Bench = (options: { lines: number }) => Promise<void>;

const benches: Readonly<Record<string, Bench>> = {
  holds: benchHolds,
  gateway: benchGateway,
  race: benchRace,
  "task-start": benchTaskStart,
  "task-wake": benchTaskWake,
};
/** Parts of the above, which are run only when named. */
const parts: Readonly<Record<string, Bench>> = {
  "holds-hot": benchHoldsHot,
  "holds-many": benchHoldsMany,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { lines: { type: "string", default: "0" } },
});
const lines = Number(values.lines);
const known = { ...benches, ...parts };
const unknown = positionals.find((name) => !(name in known));
if (unknown !== undefined || !Number.isSafeInteger(lines) || lines < 0) {
  console.error(
    unknown === undefined
      ? `--lines takes a number of ledger lines, such as 10000000; "${values.lines}" is none.`
      : `There is no bench "${unknown}"; there are ${Object.keys(known).join(", ")}.`,
  );
  process.exit(2);
}
for (const name of positionals.length > 0 ? positionals : Object.keys(benches)) {
  console.log(`\n## ${name}\n`);
  await known[name]?.({ lines });
}
