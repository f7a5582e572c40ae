import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

/** A program that the bench measures or needs, in a process of its own. */
export type OwnProcess = { url: string; close(): Promise<void> };

/** Waits until something accepts connections on this port. False: it did not within `forMs`. */
export async function accepting(port: number, forMs: number): Promise<boolean> {
  for (const until = performance.now() + forMs; performance.now() < until; await delay(50)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return true;
  }
  return false;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

/** Runs one of the bench's own files, which prints `{"url": ...}` once it listens. It ends with the bench. */
export async function startOwnFile(file: URL, args: readonly string[]): Promise<OwnProcess> {
  const child = spawn(process.execPath, [file.pathname, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), "line"),
    once(child, "exit").then(() => {
      throw new Error(`${file.pathname} did not start`);
    }),
  ]);
  const { url } = JSON.parse(String(line)) as { url: string };
  return { url, close: () => end(child) };
}

/** Runs a program that listens on the port it is given. What it says is shown only when it does not start. */
export async function startProgram(program: {
  command: string;
  args: readonly string[];
  port: number;
  env?: Readonly<Record<string, string>>;
  startMs: number;
}): Promise<OwnProcess> {
  const child = spawn(program.command, program.args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...program.env },
  });
  let said = "";
  for (const output of [child.stdout, child.stderr])
    output.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-1_000);
    });
  const stop = (): boolean => child.kill("SIGKILL");
  process.once("exit", stop);
  // Rejects when there is no such program.
  const ended = once(child, "exit").catch(String);
  const started = await Promise.race([accepting(program.port, program.startMs), ended]);
  if (started !== true) {
    await end(child);
    throw new Error(`it did not start: ${typeof started === "string" ? started : said}`);
  }
  return {
    url: `http://127.0.0.1:${program.port}`,
    async close() {
      process.off("exit", stop);
      await end(child);
    },
  };
}
