import {
  appendFile,
  mkdir,
  readdir,
  rm,
  symlink,
  writeFile as writeFileTo,
} from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { z } from "zod";
import { createLedger } from "../ledger/ledger.ts";
import { systemClock } from "../platform/clock.ts";
import { createDb, type Db } from "../platform/db.ts";
import { createLocalFileStore, fileStoreOver } from "../platform/file-store/open-file-store.ts";
import { createS3Objects } from "../platform/file-store/s3-objects.ts";
import { newId } from "../platform/ids.ts";
import { createLogger, type Logger } from "../platform/log.ts";
import { deriveSecret, Secret } from "../platform/secret.ts";
import { createNativeRuntime } from "../runtimes/native/native.ts";
import { testPasswordOf } from "./postgres.ts";
import { createBuiltInTools } from "../tools/built-in-tools.ts";
import { listFiles } from "../tools/builtin/list-files.ts";
import { writeFile } from "../tools/builtin/write-file.ts";
import { createToolRegistry, defineTool, type SealedTool } from "../tools/tools.ts";
import { createWorker, type Worker } from "../tasks/execution/worker.ts";
import { createWakeUp, openTransport } from "../wake-up.ts";

/** What a test says to a worker of a process of its own, which it may kill. */
export const workerProcessSchema = z.object({
  databaseUrl: z.string(),
  dataDir: z.string(),
  gatewayUrl: z.string(),
  /** Where contents lie when not in the data folder: a folder, or a bucket. */
  files: z
    .union([
      z.object({ folder: z.string() }),
      z.object({
        bucket: z.string(),
        region: z.string(),
        endpoint: z.string(),
        pathStyle: z.boolean(),
        keyId: z.string(),
        secret: z.string().transform((text) => new Secret(text)),
      }),
    ])
    .optional(),
  /** Kills itself in the middle of `write_file`, having done harm to the run's folder. */
  diesWriting: z.boolean().default(false),
  /** Of the installation whose bell it hears; without it there is no bell. */
  secret: z.string().optional(),
  /** Its `list_files` never ends by itself, and says in the file of `sentPath` when it begins and is told to stop. */
  hangs: z.boolean().default(false),
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

type Settings = z.infer<typeof workerProcessSchema>;

/** Lists, and leaves notes and a program of its own, as an agent with a shell does. */
export const listAndNote: SealedTool = {
  ...listFiles,
  async call(input, ctx) {
    const outcome = await listFiles.call(input, ctx);
    await ctx.folder.writeText("work/notes.txt", "notes about the list");
    const program = Readable.from([Buffer.from("#!/bin/sh\n")]);
    await ctx.folder.copyIn(program, "work/run.sh", { mode: 0o755 });
    return outcome;
  },
};

/** Half a file under its name, a changed one, a new and a removed one: then the process dies. */
function createDyingWriter(dataDir: string): SealedTool {
  return {
    ...writeFile,
    async call(_input, { idempotencyKey }) {
      const runId = idempotencyKey.split("/")[0] ?? "";
      const [workspaceId = ""] = await readdir(join(dataDir, "runs"));
      const root = join(dataDir, "runs", workspaceId, runId, "1");
      await writeFileTo(join(root, "report.md"), "# Repo");
      await writeFileTo(join(root, "work/notes.txt"), "spoilt, as long.....");
      await mkdir(join(root, "left/over"), { recursive: true });
      await symlink("/etc/passwd", join(root, "work/link"));
      await rm(join(root, "work/run.sh"));
      process.kill(process.pid, "SIGKILL");
      return new Promise(() => undefined);
    },
  };
}

function createHangingTool(sentPath: string): SealedTool {
  return {
    ...listFiles,
    async call(_input, { signal }) {
      await appendFile(sentPath, "begun\n");
      await new Promise((stopped) => signal.addEventListener("abort", stopped));
      await appendFile(sentPath, "stopped\n");
      throw signal.reason;
    },
  };
}

/** Joins the worker to the bell of its installation. */
async function hearBell(worker: Worker, options: { listenUrl: string; db: Db; log: Logger }) {
  const { db, log } = options;
  const transport = await openTransport({ config: { REDIS_URL: undefined }, ...options });
  createWakeUp({ transport, db, log }).serve(worker);
}

async function openFiles({ files, dataDir }: Settings, shared: { db: Db; log: Logger }) {
  const filesFolder = join(dataDir, "files");
  if (files === undefined) return createLocalFileStore({ ...shared, filesFolder });
  if ("folder" in files) return createLocalFileStore({ ...shared, filesFolder: files.folder });
  return fileStoreOver(await createS3Objects(files), { ...shared, filesFolder });
}

async function start(settings: Settings): Promise<void> {
  const { dataDir, gatewayUrl, config, sentPath, secret } = settings;
  const log = createLogger({ level: "warn" });
  const url = new URL(settings.databaseUrl);
  const db = createDb({
    address: { host: url.hostname, port: Number(url.port), database: url.pathname.slice(1) },
    passwordOf:
      secret === undefined
        ? testPasswordOf
        : (role) => deriveSecret(new Secret(secret), `database-role:${role}`),
    log,
  });
  const runtime = createNativeRuntime({ retryDelaysMs: [20, 40, 80] });
  const builtIn = createBuiltInTools({ scratchFolder: join(dataDir, "scratch") });
  const replacing: SealedTool[] = [createSendMessage(sentPath)];
  if (settings.diesWriting) replacing.push(listAndNote, createDyingWriter(dataDir));
  if (settings.hangs) replacing.push(createHangingTool(sentPath));
  const replaced = new Set(replacing.map((tool) => tool.name));
  const worker = createWorker({
    db,
    ledger: createLedger({ db, processId: newId("wrk") }),
    runtimeFor: () => runtime,
    tools: createToolRegistry(
      [...builtIn.filter((tool) => !replaced.has(tool.name)), ...replacing],
      { onUnexpected: ({ tool, error }) => log.error({ err: error, tool }, "a tool broke") },
    ),
    files: await openFiles(settings, { db, log }),
    dataDir,
    gatewayUrl,
    clock: systemClock,
    log,
    config,
  });
  worker.start();
  if (secret !== undefined) await hearBell(worker, { listenUrl: url.href, db, log });
  process.once("SIGTERM", () => {
    void worker
      .close({ drainMs: 5_000 })
      .then(() => db.close())
      .then(() => process.exit(0));
  });
}

if (process.argv[1] === import.meta.filename)
  await start(workerProcessSchema.parse(JSON.parse(process.argv[2] ?? "")));
