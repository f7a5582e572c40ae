import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import type { z } from "zod";
import type { TestDatabase } from "./database.ts";
import { type Stage, workerConfig } from "./run-stage.ts";
import type { workerProcessSchema } from "./worker-process.ts";

/** A worker in a process of its own, ended with the test; with `faultAt` it kills itself at that point. */
export function spawnWorker(
  settings: z.input<typeof workerProcessSchema>,
  faultAt = "",
): ChildProcess {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, "worker-process.ts"), JSON.stringify(settings)],
    { env: { ...process.env, FAULT_AT: faultAt }, stdio: ["ignore", "ignore", "inherit"] },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** The file in which `send_message` of the stage's workers leaves a line each time that it runs. */
export function sentPathOf(stage: Stage): string {
  return join(stage.dataDir, "sent.txt");
}

/** A worker of the stage. */
export function startWorkerProcess(
  { ownerUrl }: Pick<TestDatabase, "ownerUrl">,
  stage: Stage,
  faultAt = "",
): ChildProcess {
  const { dataDir, gatewayUrl } = stage;
  const sentPath = sentPathOf(stage);
  return spawnWorker(
    { dataDir, gatewayUrl, databaseUrl: ownerUrl, sentPath, config: workerConfig },
    faultAt,
  );
}

/** A worker of the stage dies at the point, and then the time of its leases passes. */
export async function killedAt(
  database: Pick<TestDatabase, "ownerUrl" | "admin">,
  stage: Stage,
  faultAt: string,
): Promise<void> {
  const child = startWorkerProcess(database, stage, faultAt);
  const [, signal] = (await once(child, "exit")) as [null, string];
  expect(signal).toBe("SIGKILL");
  await database.admin.query("UPDATE runs SET lease_until = clock_now() WHERE state = 'claimed'");
}
