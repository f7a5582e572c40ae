import { afterEach, expect, test, vi } from "vitest";
import { createLogger } from "../platform/log.ts";
import { createLiveness } from "./liveness.ts";

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
    log: createLogger({ level: "silent" }),
  });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen).toBe(30);
  await liveness.ensure();
  // Fresh enough: no call had to tell it again.
  expect(seen).toBe(30);
  void liveness.stop();
});
