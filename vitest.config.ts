import { defineConfig } from "vitest/config";
import { ClosingLine } from "./server/test/closing-line.ts";

export default defineConfig({
  test: {
    include: ["{server,sdk,cli,simulator,web,bench,faults}/**/*.test.{ts,tsx}"],
    globalSetup: ["server/test/postgres.ts"],
    // Two cores: more workers only take time from the servers under test.
    maxWorkers: 2,
    reporters: ["default", new ClosingLine()],
    // A condition that comes late on a busy machine has come.
    expect: { poll: { timeout: 10_000 } },
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
