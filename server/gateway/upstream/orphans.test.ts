import { expect, it } from "vitest";
import { createOrphans } from "./attempt.ts";
import { createWatch } from "./watch.ts";

const watch = () => {
  const shutdown = new AbortController().signal;
  const made = createWatch({ deadlineMs: 60_000, idleMs: 60_000, shutdown });
  made.end();
  return made;
};

it("beyond the limit the workspace that left most calls gives one up, not the one that left the last", () => {
  const orphans = createOrphans(4);
  const noisy = [watch(), watch(), watch(), watch()];
  const releases = noisy.map((each) => orphans.adopt("ws_noisy", each));
  const other = watch();
  orphans.adopt("ws_other", other);
  expect(other.reason()).toBeUndefined();
  expect(noisy.map((each) => each.reason())).toEqual([
    undefined,
    undefined,
    undefined,
    "abandoned",
  ]);
  const fifth = watch();
  orphans.adopt("ws_noisy", fifth);
  expect(fifth.reason()).toBe("abandoned");
  // What has ended, also more than once, makes room.
  for (const release of [...releases, ...releases]) release();
  const later = [watch(), watch(), watch()];
  for (const each of later) orphans.adopt("ws_noisy", each);
  expect(later.map((each) => each.reason())).toEqual([undefined, undefined, undefined]);
  expect(other.reason()).toBeUndefined();
});
