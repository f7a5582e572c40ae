import type { Command } from "commander";
import type { attachDatabase } from "./installation.ts";
import { readConfig } from "./platform/config.ts";
import { createLogger, type Logger } from "./platform/log.ts";

export type Env = Readonly<Record<string, string | undefined>>;

/** What commands need of the program that they are added to. */
export type CommandFrame = {
  env: Env;
  orExplain(work: () => Promise<void>): Promise<void>;
  wantsJson(command: Command): boolean;
};

type Attached = Awaited<ReturnType<typeof attachDatabase>>;

/** Runs a command's work on the database of this machine's installation, running or not, and lets go of it again. */
export async function withInstallation(
  env: Env,
  work: (installation: Attached, log: Logger) => Promise<void>,
): Promise<void> {
  const config = readConfig(env);
  // Loaded here, so that commands which need no database do not wait for its parts.
  const installation = await import("./installation.ts");
  const log = createLogger({ level: config.LOG_LEVEL });
  const attached = await installation.attachDatabase(config, log);
  try {
    await work(attached, log);
  } finally {
    await attached.close();
  }
}
