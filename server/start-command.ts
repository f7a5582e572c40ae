import type { Command } from "commander";
import { type CommandFrame, type Env, withInstallation } from "./command-frame.ts";
import { tellFailure } from "./explain.ts";
import { tellLauncher } from "./launcher-messages.ts";
import { readConfig } from "./platform/config.ts";
import { createLogger } from "./platform/log.ts";
import { parseRoles, roles } from "./roles.ts";

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Runs until SIGINT, SIGTERM or the end of its terminal or launcher; a second signal does not wait for open work. */
async function runUntilSignal<Running extends { close(): Promise<void> }>(
  starting: Promise<Running>,
): Promise<Running | undefined> {
  let stopping = false;
  const started = starting.catch((error: unknown) => {
    tellFailure(error);
    // The channel to a launcher would keep a process alive that has nothing left to do, and nobody would start another.
    if (process.connected) process.disconnect();
    return undefined;
  });
  const stop = (signal: NodeJS.Signals | "disconnect"): void => {
    if (stopping) process.exit(130);
    stopping = true;
    // After a hangup there is no terminal left to write to.
    if (signal === "SIGINT" || signal === "SIGTERM") print("▸ stopping (again to stop at once)");
    tellLauncher({ type: "draining" });
    // A signal that arrives while the program starts waits for the start to finish.
    void started
      .then((running) => running?.close())
      .catch(tellFailure)
      .then(() => process.exit(process.exitCode ?? 0));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  process.once("disconnect", () => {
    if (!stopping) stop("disconnect");
  });
  return started;
}

/** `guildhall start`: the roles of this process, by default all. */
async function startCommand(env: Env, roleOptions: readonly string[]): Promise<void> {
  const roles = parseRoles(roleOptions);
  const config = readConfig(env);
  const { startGuildhall } = await import("./main.ts");
  const log = createLogger({ level: config.LOG_LEVEL });
  const running = await runUntilSignal(startGuildhall({ config, roles, log, print }));
  if (running) tellLauncher({ type: "ready", ...running.reached });
}

/** `guildhall cluster`: every role in processes of its own on this machine. SIGUSR2 replaces them in turn. */
async function clusterCommand(env: Env, flags: Readonly<Record<string, string>>): Promise<void> {
  const config = readConfig(env);
  const { readSizes, startCluster } = await import("./cluster.ts");
  const sizes = readSizes(flags);
  const log = createLogger({ level: config.LOG_LEVEL });
  const cluster = await runUntilSignal(startCluster({ config, env, sizes, log, print }));
  if (!cluster) return;
  process.on("SIGUSR2", () => {
    print("▸ restarting, of each role one process at a time");
    void cluster.restart().then(
      () => print("▸ restarted"),
      (error: unknown) => log.error({ err: error }, "the restart was given up"),
    );
  });
}

async function printSignIn(env: Env): Promise<void> {
  const { newSignInLine } = await import("./sign-in.ts");
  await withInstallation(env, async ({ db }) => {
    process.stdout.write(`${await newSignInLine(readConfig(env), db)}\n`);
  });
}

/** The commands that run an installation: start, cluster, sign-in. */
export function addStartCommands(program: Command, { env, orExplain }: CommandFrame): void {
  program
    .command("start")
    .description("run everything in this process, or only some roles of an installation")
    .option(
      "--role <name>",
      `only this role of ${roles.join(", ")}; several with commas, or by repeating the option`,
      (name: string, before: string[]) => [...before, name],
      [],
    )
    .action((options: { role: string[] }) => orExplain(() => startCommand(env, options.role)));
  program
    .command("cluster")
    .description(
      "run every role in processes of its own on this machine; SIGUSR2 restarts them in turn",
    )
    .option("--api <number>", "processes of the API and the page", "2")
    .option("--worker <number>", "processes that run tasks", "2")
    .option("--gateway <number>", "processes that pass model calls on", "2")
    .option("--scheduler <number>", "processes that look after everything", "1")
    .action((flags: Record<string, string>) => orExplain(() => clusterCommand(env, flags)));
  program
    .command("sign-in")
    .description("a new one-time link to the page for the local owner; earlier links end")
    .action(() => orExplain(() => printSignIn(env)));
}
