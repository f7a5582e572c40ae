import { describe, expect, it } from "vitest";
import { formatDay, formatDuration, formatPeriod } from "./time.ts";
import { formatBytes } from "./number.ts";

describe("times and sizes", () => {
  it.each([
    [0, "0 ms"],
    [430, "430 ms"],
    [1_390, "1.4 s"],
    [12_900, "12 s"],
    [134_000, "2 m 14 s"],
    [3_900_000, "1 h 05 m"],
  ])("shows %i ms as %s", (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it("keeps a UTC day of the report that day in every time zone", () => {
    expect(formatDay("2026-11-01")).toBe("Nov 1");
    expect(formatPeriod("2026-11")).toBe("November");
    expect(formatPeriod("now")).toBe("now");
  });

  it.each([
    [0, "0 B"],
    [1_023, "1023 B"],
    [1_229, "1.2 KB"],
    [52_428_800, "50.0 MB"],
  ])("shows %i bytes as %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
