import { expect, it } from "vitest";
import { startAfterOf } from "./start-after.ts";

const now = new Date("2027-01-31T08:00:00.000Z");

it("a start is a time from now, or a moment in any zone", () => {
  expect(startAfterOf(undefined, now)).toBeUndefined();
  expect(startAfterOf("90s", now)).toBe("2027-01-31T08:01:30.000Z");
  expect(startAfterOf("30m", now)).toBe("2027-01-31T08:30:00.000Z");
  expect(startAfterOf("1d", now)).toBe("2027-02-01T08:00:00.000Z");
  expect(startAfterOf("2027-02-01T08:00+01:00", now)).toBe("2027-02-01T07:00:00.000Z");
});

it.each(["", "soon", "1", "-5m", "5 m", "1w", "999999999d", "2027-13-01T00:00Z", "12"])(
  "%j is no start, and the answer shows what is",
  (text) => {
    expect(() => startAfterOf(text, now)).toThrow(/30m.*2027-01-31T08:00/);
  },
);
