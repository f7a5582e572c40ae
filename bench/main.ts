import { parseArgs } from "node:util";
import { benchDrain } from "./drain.ts";
import { benchGateway } from "./gateway/gateway.ts";
import { benchRace } from "./gateway/race.ts";
import { benchHolds, benchHoldsHot, benchHoldsMany } from "./holds/holds.ts";
import { benchBacklog } from "./queue/backlog.ts";
import { benchFlood } from "./queue/flood.ts";
import { benchResume } from "./resume.ts";
import { benchTaskStart } from "./task-start.ts";
import { benchTaskWake } from "./task-wake.ts";
import { benchWaitingRuns } from "./waiting-runs.ts";

type Bench = (options: { lines: number; waiting: number }) => Promise<void>;

const benches: Readonly<Record<string, Bench>> = {
  holds: benchHolds,
  gateway: benchGateway,
  race: benchRace,
  "task-start": benchTaskStart,
  "task-wake": benchTaskWake,
  drain: benchDrain,
  "waiting-runs": benchWaitingRuns,
  backlog: benchBacklog,
  flood: benchFlood,
  resume: benchResume,
};
/** Parts of the above, which are run only when named. */
const parts: Readonly<Record<string, Bench>> = {
  "holds-hot": benchHoldsHot,
  "holds-many": benchHoldsMany,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    lines: { type: "string", default: "0" },
    waiting: { type: "string", default: "200000" },
  },
});
const lines = Number(values.lines);
const waiting = Number(values.waiting);
const known = { ...benches, ...parts };
const unknown = positionals.find((name) => !(name in known));
const impossible = [lines, waiting].some((count) => !Number.isSafeInteger(count) || count < 0);
if (unknown !== undefined || impossible) {
  console.error(
    unknown === undefined
      ? `--lines takes a number of ledger lines, such as 10000000, and --waiting one of tasks, such as 1000000.`
      : `There is no bench "${unknown}"; there are ${Object.keys(known).join(", ")}.`,
  );
  process.exit(2);
}
for (const name of positionals.length > 0 ? positionals : Object.keys(benches)) {
  console.log(`\n## ${name}\n`);
  await known[name]?.({ lines, waiting });
}
