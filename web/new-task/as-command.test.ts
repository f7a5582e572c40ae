import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { asCli, asCurl } from "./as-command.ts";

const task = {
  agent: "gray",
  prompt: "Profile it",
  costLimitNanoUsd: 500_000_000,
  paths: ["data/a.csv", "data/b.csv", "notes.md"],
};

/** What a shell makes of the text: the words of each command. */
function wordsOf(commands: string): string[] {
  const script = `npx() { printf '%s\\0' "$@"; }\ncurl() { printf '%s\\0' "$@"; }\nuuidgen() { echo u; }\n${commands}`;
  return execFileSync("sh", ["-c", script], { encoding: "utf8", env: { GUILDHALL_API_KEY: "k" } })
    .split("\0")
    .slice(0, -1);
}

describe("the task as a command", () => {
  it("names each top folder and file once, and the cap in dollars", () => {
    expect(wordsOf(asCli(task))).toEqual([
      ..."guildhall task run --agent gray --input ./data --input ./notes.md".split(" "),
      ..."--cost-limit 0.5".split(" "),
      "Profile it",
      "--follow",
    ]);
  });

  it("says when it may start, in both ways", () => {
    const later = { ...task, paths: [], startAfter: "2027-01-31T07:00:00.000Z" };
    expect(wordsOf(asCli(later)).join(" ")).toContain("--start-after 2027-01-31T07:00:00.000Z");
    const body: unknown = JSON.parse(wordsOf(asCurl(later, "http://h")).at(-1)!);
    expect(body).toMatchObject({ start_after: later.startAfter });
  });

  it("uploads first when there are files, and creates the task after", () => {
    const words = wordsOf(asCurl(task, "http://127.0.0.1:4000"));
    expect(words).toContain("files=@data/a.csv;filename=data/a.csv");
    expect(words.indexOf("http://127.0.0.1:4000/v1/uploads")).toBeLessThan(
      words.indexOf("http://127.0.0.1:4000/v1/tasks"),
    );
    expect(JSON.parse(words.at(-1)!)).toEqual({
      agent: "gray",
      prompt: "Profile it",
      upload_id: "upl_...",
      limits: { cost_nano_usd: 500_000_000 },
    });
  });

  it("hands any prompt through a shell unchanged", () => {
    const hostile = fc.string({
      unit: fc.constantFrom("'", '"', "$(id)", "`id`", "\\", "\n", ";", "&", "a", " ", "!", "é"),
    });
    fc.assert(
      fc.property(hostile, (prompt) => {
        const given = { ...task, prompt, paths: [] };
        expect(wordsOf(asCli(given))).toContain(prompt);
        const body: unknown = JSON.parse(wordsOf(asCurl(given, "http://h")).at(-1)!);
        expect(body).toMatchObject({ prompt });
      }),
      { numRuns: 40 },
    );
  });
});
