import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { AppError } from "../../platform/errors.ts";

/** A process of the demonstration: told its settings in one line, answers one line when it is ready. */
export type Child = {
  /** What it said when it was ready, JSON. */
  ready: unknown;
  process: ChildProcess;
  /** Ends it at once and waits for its end. */
  kill(): Promise<void>;
};

/** Starts a script. Settings go by its standard input, not its arguments: other users may read those. */
export async function startChild(start: {
  script: URL;
  settings: object;
  /** Where compiled code is kept for the next process, which then takes half as long to start. */
  cacheDir: string;
}): Promise<Child> {
  const child = spawn(process.execPath, [fileURLToPath(start.script)], {
    env: { ...process.env, NODE_COMPILE_CACHE: start.cacheDir },
    stdio: ["pipe", "pipe", "inherit"],
    // A Ctrl-C of the terminal is for the demonstration, which ends its processes itself.
    detached: true,
  });
  const ended = once(child, "exit");
  async function kill(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  }
  // It may be killed before it has read its settings.
  child.stdin.on("error", () => {});
  child.stdin.write(`${JSON.stringify(start.settings)}\n`);
  const line = once(createInterface({ input: child.stdout }), "line") as Promise<[string]>;
  const first = await Promise.race([line, ended.then(() => undefined)]);
  if (first === undefined)
    throw new AppError({
      code: "prove_process_ended",
      status: 500,
      publicMessage: "A process of the demonstration ended before it was ready.",
      hint: "What it said is above.",
    });
  return { ready: JSON.parse(first[0]) as unknown, process: child, kill };
}

/** In the script: reads the settings. The process ends when the demonstration does, however that happens. */
export async function readSettings(): Promise<unknown> {
  process.stdin.once("end", () => process.exit(0));
  const [line] = (await once(createInterface({ input: process.stdin }), "line")) as [string];
  return JSON.parse(line) as unknown;
}

/** In the script: says that it is ready. */
export function sayReady(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
