import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutants } from "./mutants.ts";

// `npm run mutants`: puts each fault of mutants.ts into a copy of the repository, and shows which test notices it.

const root = join(import.meta.dirname, "../../..");
const LEFT_OUT = new Set(["node_modules", ".git", "dist", "coverage", ".guildhall"]);
const LINKED = [
  "node_modules",
  "server/node_modules",
  "sdk/node_modules",
  "simulator/node_modules",
];

async function copyRepository(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), "guildhall-mutants-"));
  await cp(root, copy, {
    recursive: true,
    filter: (path) => !LEFT_OUT.has(basename(path)),
  });
  for (const folder of LINKED)
    await symlink(join(root, folder), join(copy, folder)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  return copy;
}

function mutated(text: string, mutant: Mutant): string {
  let result = text;
  for (const { find, replace } of mutant.edits) {
    const places = result.split(find).length - 1;
    if (places !== 1)
      throw new Error(
        `${mutant.name} (${mutant.place}): its text is found ${places} times in ${mutant.file}, not once:\n  ${find}`,
      );
    result = result.replace(find, () => replace);
  }
  return result;
}

/** Every text must still be there before anything is run. */
async function expectApplicable(all: readonly Mutant[]): Promise<void> {
  for (const mutant of all) mutated(await readFile(join(root, mutant.file), "utf8"), mutant);
}

type Report = {
  testResults: {
    message: string;
    assertionResults: { status: string; fullName: string; failureMessages?: string[] }[];
  }[];
};

/** What a failure says first. */
function reasonOf(messages: readonly string[] = []): string {
  const [line = ""] = messages.join("\n").split("\n");
  const [said = ""] = line.replace(/^(\w*Error: )+/, "").split(/: [[{]/);
  return said.slice(0, 120);
}

/** -> the first test that failed, and what it said; undefined when all passed */
async function failingTest(copy: string, tests: readonly string[]): Promise<string | undefined> {
  const report = join(copy, "mutant-report.json");
  const child = spawn(
    "npx",
    ["vitest", "run", ...tests, "--bail=1", "--reporter=json", `--outputFile=${report}`],
    {
      cwd: copy,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, KERNEL_RUNS: "2000", POSTGRES_RUNS: "60", SHRINK: "off" },
    },
  );
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const code = await new Promise((resolve) => child.on("exit", resolve));
  const { testResults } = JSON.parse(await readFile(report, "utf8")) as Report;
  await rm(report);
  const failed = testResults
    .flatMap((file) => file.assertionResults)
    .find((test) => test.status === "failed");
  if (failed) return `${failed.fullName.trim()} — ${reasonOf(failed.failureMessages)}`;
  if (code === 0) return undefined;
  // A file that cannot even be loaded shows nothing about its tests.
  const message = testResults.find((file) => file.message)?.message ?? errors;
  throw new Error(`the tests did not run: ${message.slice(0, 2_000)}`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { only: { type: "string" } } });
  const { only } = values;
  const chosen = mutants.filter(({ name, place }) => `${name} ${place}`.includes(only ?? ""));
  await expectApplicable(chosen);
  const copy = await copyRepository();
  let survived = 0;
  try {
    const tests = [...new Set(chosen.flatMap((mutant) => mutant.tests))];
    const before = await failingTest(copy, tests);
    if (before !== undefined) throw new Error(`fails without any mutant: ${before}`);
    process.stdout.write("| mutant | place | killed by |\n| --- | --- | --- |\n");
    for (const mutant of chosen) {
      const path = join(copy, mutant.file);
      const text = await readFile(path, "utf8");
      await writeFile(path, mutated(text, mutant));
      const killer = await failingTest(copy, mutant.tests);
      await writeFile(path, text);
      if (killer === undefined) survived++;
      process.stdout.write(
        `| ${mutant.name} | ${mutant.place} | ${killer ?? "**nothing: it survived**"} |\n`,
      );
    }
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
  process.stdout.write(`${chosen.length - survived} of ${chosen.length} mutants killed\n`);
  return survived === 0 ? 0 : 1;
}

process.exitCode = await main();
