import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { z } from "zod";
import type { TestDatabase } from "../../test/database.ts";

export type GatewayProcess = { url: string; processId: string; child: ChildProcess };

/** A gateway in a process of its own, which `FAULT_AT` kills at the named point. */
export async function startGatewayProcess(
  { ownerUrl }: Pick<TestDatabase, "ownerUrl">,
  options: { upstreamUrl: string; faultAt: string },
): Promise<GatewayProcess> {
  const script = fileURLToPath(new URL("kill-process.ts", import.meta.url));
  const child = spawn(process.execPath, [script, ownerUrl, options.upstreamUrl], {
    env: { ...process.env, FAULT_AT: options.faultAt },
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line")) as [string];
  return {
    child,
    ...z.object({ url: z.string(), processId: z.string() }).parse(JSON.parse(line)),
  };
}
