import { expect, it } from "vitest";
import { rateLimitFields } from "./rate-limit-headers.ts";

const hour = { policy: "api_requests", quota: 100, windowMs: 3_600_000 };

it("each policy is an item of both lists: its rule in one, its state in the other, times in whole seconds", () => {
  expect(
    rateLimitFields([
      { ...hour, remaining: 42, resetMs: 1_001 },
      { policy: "per_address", quota: 10, windowMs: 60_000, remaining: 9 },
    ]),
  ).toEqual({
    "ratelimit-policy": '"api_requests";q=100;w=3600, "per_address";q=10;w=60',
    ratelimit: '"api_requests";r=42;t=2, "per_address";r=9',
  });
});

it("a reset is never told earlier than it is, and nothing is below zero", () => {
  expect(rateLimitFields([{ ...hour, remaining: -1, resetMs: 1 }]).ratelimit).toBe(
    '"api_requests";r=0;t=1',
  );
});

it("a name that would need quoting is refused", () => {
  expect(() => rateLimitFields([{ ...hour, policy: 'a"b', remaining: 1 }])).toThrow(
    /names a policy/,
  );
});
