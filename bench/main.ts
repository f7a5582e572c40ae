import { benchGateway } from "./gateway.ts";
import { benchHolds } from "./holds/holds.ts";
import { benchTaskStart } from "./task-start.ts";

const benches: Readonly<Record<string, () => Promise<void>>> = {
  holds: benchHolds,
  gateway: benchGateway,
  "task-start": benchTaskStart,
};

const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : Object.keys(benches)) {
  const bench = benches[name];
  if (!bench) {
    console.error(`There is no bench "${name}"; there are ${Object.keys(benches).join(", ")}.`);
    process.exit(2);
  }
  console.log(`\n## ${name}\n`);
  await bench();
}
