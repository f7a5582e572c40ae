import { expect, it } from "vitest";
import { untilFewer } from "./until-fewer.ts";

it.each([
  { takes: [5, 5, 3, 5], times: 10, all: 13 },
  { takes: [5, 5, 5, 5], times: 2, all: 10 },
  { takes: [0], times: 3, all: 0 },
])("$takes, $times times at most", async ({ takes, times, all }) => {
  const rest = [...takes];
  const job = () => Promise.resolve(rest.shift() ?? Number.NaN);
  expect(await untilFewer({ atMost: 5, times }, job)).toBe(all);
});
