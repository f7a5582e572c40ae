import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const BIN = new URL("bin.ts", import.meta.url).pathname;

function guildhall(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

test("`guildhall prices check` says how the table stands, for people and for programs", async () => {
  const people = await guildhall("prices", "check", "--max-age", "36500");
  expect(people).toMatchObject({ code: 0, stderr: "" });
  expect(people.stdout).toMatch(/^✓ \d+ versions; \d+ models are priced since \d{4}-\d\d-\d\d\n$/);
  const programs = await guildhall("prices", "check", "--max-age", "36500", "--json");
  expect(JSON.parse(programs.stdout)).toMatchObject({ data: { ok: true, findings: [] } });
});

test("a difference to a published list, or a list that cannot be read, ends with exit code 1", async () => {
  const folder = await mkdtemp(join(tmpdir(), "prices-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "list.json");
  await writeFile(file, '{"claude-opus-5-5":{"input_cost_per_token":0.000005}}');
  const differs = await guildhall("prices", "check", "--max-age", "36500", "--against", file);
  expect(differs.code).toBe(1);
  expect(differs.stdout).toContain(
    "claude-opus-5-5: input is 4000 nano-USD a token, published: 5000",
  );
  const missing = await guildhall("prices", "check", "--against", join(folder, "none.json"));
  expect(missing.code).toBe(1);
  expect(missing.stderr).toContain("cannot be read as a price list");
  const days = await guildhall("prices", "check", "--max-age", "soon");
  expect(days.code).toBe(1);
  expect(days.stderr).toContain("soon is no number of days");
});
