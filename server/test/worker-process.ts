import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { createLedger } from "../ledger/ledger.ts";
import { systemClock } from "../platform/clock.ts";
import { createDb } from "../platform/db.ts";
import { createLocalFileStore } from "../platform/file-store/open-file-store.ts";
import { newId } from "../platform/ids.ts";
import { createLogger } from "../platform/log.ts";
import { createNativeRuntime } from "../runtimes/native/native.ts";
import { testPasswordOf } from "./postgres.ts";
import { createBuiltInTools } from "../tools/built-in-tools.ts";
import { createToolRegistry, defineTool } from "../tools/tools.ts";
import { createWorker } from "../tasks/execution/worker.ts";

/** What a test says to a worker of a process of its own, which it may kill. */
export const workerProcessSchema = z.object({
  databaseUrl: z.string(),
  dataDir: z.string(),
  gatewayUrl: z.string(),
  /** File to which the tool `send_message` appends a line with its key, each time that it runs. */
  sentPath: z.string(),
  config: z.object({
    concurrency: z.int(),
    leaseMs: z.int(),
    heartbeatMs: z.int(),
    pollMs: z.int(),
    agentTimeSliceMs: z.int(),
  }),
});

/** A tool that must not take effect twice, and whose effects can be counted from outside. */
export function createSendMessage(sentPath: string) {
  return defineTool({
    name: "send_message",
    description: "Sends a message to a colleague.",
    input: z.object({ to: z.string(), subject: z.string(), body: z.string() }),
    effect: "at_most_once",
    permission: "team",
    costRule: "free",
    async run(_message, { idempotencyKey }) {
      await appendFile(sentPath, `${idempotencyKey}\n`);
      return { isError: false, content: "{}", summary: "Sent" };
    },
  });
}

function start(settings: z.infer<typeof workerProcessSchema>): void {
  const { dataDir, gatewayUrl, config, sentPath } = settings;
  const log = createLogger({ level: "warn" });
  const url = new URL(settings.databaseUrl);
  const db = createDb({
    address: { host: url.hostname, port: Number(url.port), database: url.pathname.slice(1) },
    passwordOf: testPasswordOf,
    log,
  });
  const runtime = createNativeRuntime({ retryDelaysMs: [20, 40, 80] });
  const builtIn = createBuiltInTools({ scratchFolder: join(dataDir, "scratch") });
  const sendMessage = createSendMessage(sentPath);
  const worker = createWorker({
    db,
    ledger: createLedger({ db, processId: newId("wrk") }),
    runtimeFor: () => runtime,
    tools: createToolRegistry(
      [...builtIn.filter((tool) => tool.name !== sendMessage.name), sendMessage],
      { onUnexpected: ({ tool, error }) => log.error({ err: error, tool }, "a tool broke") },
    ),
    files: createLocalFileStore({ db, log, filesFolder: join(dataDir, "files") }),
    dataDir,
    gatewayUrl,
    clock: systemClock,
    log,
    config,
  });
  worker.start();
  process.once("SIGTERM", () => {
    void worker
      .close({ drainMs: 5_000 })
      .then(() => db.close())
      .then(() => process.exit(0));
  });
}

if (process.argv[1] === import.meta.filename)
  start(workerProcessSchema.parse(JSON.parse(process.argv[2] ?? "")));
