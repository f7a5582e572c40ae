import { existsSync } from "node:fs";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { createLogDestination } from "./log-destination.ts";

const DEVICE = "/dev/full";

/** What is waited for comes at once; so long only on a machine that has much else to do. */
const PATIENCE = { timeout: 20_000 };

it("all lines arrive, whole and in order, also those of the last moment", async () => {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-log-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "log");
  const file = await open(path, "w");
  const log = createLogDestination(file.fd);
  const lines = Array.from({ length: 3_000 }, (_, n) => `${n} ${"ä".repeat(n % 300)}\n`);
  for (const line of lines.slice(0, -1)) log.write(line);
  await vi.waitUntil(async () => (await readFile(path, "utf8")).endsWith(lines.at(-2)!), PATIENCE);
  log.write(lines.at(-1)!);
  await vi.waitUntil(async () => (await readFile(path, "utf8")).endsWith(lines.at(-1)!), PATIENCE);
  await file.close();
  expect(await readFile(path, "utf8")).toBe(lines.join(""));
  expect(log.lost()).toBe(0);
});

it.skipIf(!existsSync(DEVICE))(
  "a full disk loses the newest lines, which are counted, and stops nobody",
  async () => {
    const device = await open(DEVICE, "w");
    const log = createLogDestination(device.fd);
    for (let n = 0; n < 2_000; n++) log.write(`${"x".repeat(999)}\n`);
    expect(log.lost()).toBe(1_000);
    await vi.waitUntil(() => {
      log.write("again\n");
      return log.lost() > 1_010;
    }, PATIENCE);
    log.flushSync();
    await device.close();
  },
);
