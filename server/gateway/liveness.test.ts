import { afterEach, expect, test, vi } from "vitest";
import { createLogger } from "../platform/log.ts";
import { createJobFailures } from "../platform/job-failures.ts";
import { createLiveness } from "./liveness.ts";

const log = createLogger({ level: "silent" });

afterEach(() => {
  vi.useRealTimers();
});

test.each([
  [
    "cannot be ended",
    () => Promise.resolve([{ workspaceId: "ws_1", holdId: "hold_1", error: new Error("no") }]),
  ],
  ["make the whole search fail", () => Promise.reject(new Error("no"))],
  ["take for ever", () => new Promise<never>(() => {})],
])("holds that %s do not keep a gateway from saying that it lives", async (_how, endUnresolved) => {
  vi.useFakeTimers();
  let seen = 0;
  const liveness = createLiveness({
    ledger: {
      processSeen() {
        seen += 1;
        return Promise.resolve();
      },
      endUnresolved,
    },
    log,
  });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen).toBe(30);
  await liveness.ensure();
  // Fresh enough: no call had to tell it again.
  expect(seen).toBe(30);
  void liveness.stop();
});

test("a beat that fails is counted, and so is a search for holds to end; the next ones are made all the same", async () => {
  vi.useFakeTimers();
  let away = true;
  let ended = 0;
  const failures = createJobFailures(log);
  const liveness = createLiveness({
    ledger: {
      processSeen: () => (away ? Promise.reject(new Error("away")) : Promise.resolve()),
      endUnresolved() {
        ended += 1;
        return Promise.reject(new Error("no"));
      },
    },
    log,
    failures,
  });
  expect(Object.fromEntries(failures.times)).toEqual({
    gateway_heartbeat: 0,
    end_unresolved_holds: 0,
  });
  await vi.advanceTimersByTimeAsync(4_000);
  expect(failures.times.get("gateway_heartbeat")).toBe(2);
  expect(ended).toBe(0);
  away = false;
  await vi.advanceTimersByTimeAsync(6_000);
  expect(Object.fromEntries(failures.times)).toEqual({
    gateway_heartbeat: 2,
    end_unresolved_holds: 3,
  });
  void liveness.stop();
});
