import { spawn } from "node:child_process";
import { parseArgs } from "node:util";

// `npm run prove`: the random proofs of the ledger with far more sequences than every run of the tests can afford.

const USAGE = `Usage: npm run prove -- [--kernel N] [--postgres N] [--seed S]
  --kernel    sequences over the kernel alone (default 200000)
  --postgres  sequences over kernel and database, half of them at once (default 3000)
  --seed      repeats a run (default: a new one, which is printed)`;

function readArguments(): { kernel: number; postgres: number; seed: number } {
  const { values } = parseArgs({
    options: {
      kernel: { type: "string", default: "200000" },
      postgres: { type: "string", default: "3000" },
      seed: { type: "string", default: String(Math.trunc(Math.random() * 2 ** 31)) },
    },
  });
  const read = (name: keyof typeof values): number => {
    const number = Number(values[name]);
    if (!Number.isSafeInteger(number) || number < 0)
      throw new Error(`--${name} is ${values[name]}, not a whole number`);
    return number;
  };
  return { kernel: read("kernel"), postgres: read("postgres"), seed: read("seed") };
}

async function main(): Promise<number> {
  const { kernel, postgres, seed } = readArguments();
  process.stdout.write(
    `seed ${seed}: ${kernel} sequences over the kernel, ${postgres} over kernel and database\n`,
  );
  const files = ["kernel.test.ts", "kernel-scope", "kernel-oracle", "kernel-at-once"];
  const child = spawn("npx", ["vitest", "run", ...files.map((name) => `server/ledger/${name}`)], {
    stdio: "inherit",
    env: {
      ...process.env,
      KERNEL_RUNS: String(kernel),
      POSTGRES_RUNS: String(postgres),
      SEED: String(seed),
    },
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => {
      if (code !== 0)
        process.stderr.write(
          `repeat it with: npm run prove -- --seed ${seed} --kernel ${kernel} --postgres ${postgres}\n`,
        );
      resolve(code ?? 1);
    });
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
  process.exitCode = 2;
}
