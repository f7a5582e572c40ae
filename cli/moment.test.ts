import { expect, it } from "vitest";
import { momentOf } from "./moment.ts";

const now = new Date("2027-01-31T08:00:00.000Z");

it.each([
  ["90s", "2027-01-31T08:01:30.000Z"],
  ["30m", "2027-01-31T08:30:00.000Z"],
  ["8h", "2027-01-31T16:00:00.000Z"],
  ["1d", "2027-02-01T08:00:00.000Z"],
  ["2027-02-01T08:00+01:00", "2027-02-01T07:00:00.000Z"],
  ["2027-02-01T08:00Z", "2027-02-01T08:00:00.000Z"],
  ["2027-02-01T08:00:30.5-05:00", "2027-02-01T13:00:30.500Z"],
])("%s is a moment", (text, iso) => {
  expect(momentOf("--until", text, now)).toBe(iso);
});

it("an option that was not given names none", () => {
  expect(momentOf("--until", undefined, now)).toBeUndefined();
});

it.each([
  ["without a zone", "2027-02-01T08:00"],
  ["a day", "2027-02-01"],
  ["a day that does not exist", "2027-02-30T08:00Z"],
  ["a month that does not exist", "2027-13-01T00:00Z"],
  ["further than a date can say", "999999999d"],
  ["nothing", ""],
  ["words", "soon"],
  ["a number", "12"],
  ["the past", "-5m"],
  ["with a blank", "5 m"],
  ["an unknown unit", "1w"],
])("%s is no moment (%s), whichever option says it, and the answer shows what is", (_, text) => {
  for (const option of ["--until", "--start-after"])
    expect(() => momentOf(option, text, now)).toThrow(
      new RegExp(`^${option} .*30m.*zone.*2027-01-31T08:00\\+01:00`),
    );
});
