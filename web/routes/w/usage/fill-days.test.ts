import { describe, expect, it } from "vitest";
import { fillDays } from "./fill-days.ts";

const day = (name: string, spent: number) => ({ day: name, spent_nano_usd: spent, tasks: 1 });

describe("fillDays", () => {
  it("shows a day without cost between two days with cost", () => {
    const filled = fillDays([day("2026-03-01", 5), day("2026-02-27", 3)], 1);
    expect(filled.map((each) => [each.day, each.spent_nano_usd])).toEqual([
      ["2026-02-27", 3],
      ["2026-02-28", 0],
      ["2026-03-01", 5],
    ]);
  });

  it("begins early enough for a single day to stand among others", () => {
    const filled = fillDays([day("2026-11-03", 5)], 4);
    expect(filled.map((each) => each.day)).toEqual([
      "2026-10-31",
      "2026-11-01",
      "2026-11-02",
      "2026-11-03",
    ]);
  });

  it("adds nothing to nothing", () => {
    expect(fillDays([], 14)).toEqual([]);
  });
});
