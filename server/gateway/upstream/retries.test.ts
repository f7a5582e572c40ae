import { describe, expect, test } from "vitest";
import { createRetries } from "./retries.ts";

describe("retries", () => {
  test("wait longer each time, and end after the fourth attempt", () => {
    const retries = createRetries(() => 0.5);
    const waits = [1, 2, 3].map((attemptNo) =>
      retries.next({ attemptNo, retryAfterMs: undefined }),
    );
    expect(waits).toEqual([187.5, 375, 750]);
    expect(retries.next({ attemptNo: 4, retryAfterMs: undefined })).toBeUndefined();
  });

  test("wait at least as long as the provider asks, unless that is too long", () => {
    const retries = createRetries(() => 0);
    expect(retries.next({ attemptNo: 1, retryAfterMs: 3_000 })).toBe(3_000);
    expect(retries.next({ attemptNo: 1, retryAfterMs: 60_000 })).toBeUndefined();
  });

  test("are a tenth of the calls in the long run", () => {
    const retries = createRetries();
    let made = 0;
    for (let call = 0; call < 10_000; call++) {
      retries.callStarted();
      for (const attemptNo of [1, 2, 3])
        if (retries.next({ attemptNo, retryAfterMs: undefined }) !== undefined) made += 1;
    }
    expect(made).toBeLessThanOrEqual(1_000 + 20);
    expect(made).toBeGreaterThan(900);
  });
});
