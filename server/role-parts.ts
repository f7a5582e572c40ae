import type { Identity } from "./identity/identity.ts";
import type { Installation } from "./installation.ts";
import type { Ledger } from "./ledger/ledger.ts";
import type { ModelProvider } from "./model-provider.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config } from "./platform/config.ts";
import { AppError } from "./platform/errors.ts";
import type { FileStore } from "./platform/file-store/file-store.ts";
import type { Health } from "./platform/health.ts";
import type { JobFailures } from "./platform/job-failures.ts";
import type { Logger } from "./platform/log.ts";
import type { Notices } from "./platform/notices.ts";
import type { RequestLimits } from "./platform/request-limits.ts";
import { hasCode } from "./platform/system-error.ts";
import type { Roles } from "./roles.ts";
import type { WakeUp } from "./wake-up.ts";

/** What all roles of a process stand on. */
export type RoleParts = {
  config: Config;
  log: Logger;
  /** Of the jobs that this process does again and again. */
  failures: JobFailures;
  roles: Roles;
  installation: Installation;
  provider: ModelProvider;
  /** The database's time. */
  clock: Clock;
  identity: Identity;
  requestLimits: RequestLimits;
  files: FileStore;
  /** Owner of this process's holds: `processId`. */
  ledger: Ledger;
  processId: string;
  notices: Notices;
  /** The bell of the workers. */
  wakeUp: WakeUp;
  health: Health;
};

/** Listens, and says how to choose another port when this one is taken. */
export async function orPortBusy<T>(
  { port, variable }: { port: number; variable: string },
  listen: () => Promise<T>,
): Promise<T> {
  try {
    return await listen();
  } catch (error) {
    if (!hasCode(error, "EADDRINUSE")) throw error;
    throw new AppError({
      code: "port_busy",
      status: 500,
      publicMessage: `Port ${port} is taken by another program.`,
      hint: `Stop that program, or choose another port: ${variable}=${port + 10} npm start`,
      cause: error,
    });
  }
}
