import { parseArgs } from "node:util";
import type { SimulatorOptions } from "./simulator.ts";
import { createSimulator } from "./simulator.ts";

const HELP = `Runs the simulated model provider alone.

  node simulator/main.ts [--port 4010] [--host 127.0.0.1] [--seed 1]
                         [--first-byte-ms 120] [--per-event-ms 15]

Any non-empty API key is let in. Faults are set by POST /sim/faults.`;

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  process.stderr.write(`--${name} wants a whole number of 0 or more, not "${text}".\n`);
  process.exit(2);
}

function readFlags(): { port: number; host: string; options: SimulatorOptions } {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "4010" },
      host: { type: "string", default: "127.0.0.1" },
      seed: { type: "string", default: "1" },
      "first-byte-ms": { type: "string", default: "120" },
      "per-event-ms": { type: "string", default: "15" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    process.exit(0);
  }
  const latency = {
    firstByteMs: wholeNumber("first-byte-ms", values["first-byte-ms"]),
    perEventMs: wholeNumber("per-event-ms", values["per-event-ms"]),
  };
  return {
    port: wholeNumber("port", values.port),
    host: values.host,
    options: { seed: values.seed, latency },
  };
}

function readFlagsOrExit(): ReturnType<typeof readFlags> {
  try {
    return readFlags();
  } catch (error) {
    process.stderr.write(
      `${error instanceof Error ? error.message : String(error)}\nSee --help.\n`,
    );
    process.exit(2);
  }
}

const { port, host, options } = readFlagsOrExit();
const simulator = createSimulator(options);
try {
  const { url } = await simulator.listen(port, host);
  process.stdout.write(`Simulated model provider on ${url} (no real model answers here)\n`);
} catch (error) {
  process.stderr.write(
    `Cannot listen on ${host}:${port}: ${error instanceof Error ? error.message : String(error)}. Choose another --port.\n`,
  );
  process.exit(1);
}
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => void simulator.close());
