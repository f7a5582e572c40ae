import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { AppError } from "./platform/errors.ts";
import { prismaEnvironment } from "./prisma/environment.ts";

/** Prisma Studio in a process of its own, on 127.0.0.1 only. */
export type Studio = {
  /** Where its page is, such as `http://localhost:51212`. */
  url: string;
  /** Resolves when it has ended, by `close` or by itself. */
  ended: Promise<void>;
  close(): Promise<void>;
};

function findPrismaCommand(): string {
  try {
    return fileURLToPath(import.meta.resolve("prisma/build/index.js"));
  } catch (cause) {
    throw new AppError({
      code: "studio_missing",
      status: 500,
      publicMessage: "Prisma Studio is not installed.",
      hint: "Run npm ci without --omit=dev.",
      cause,
    });
  }
}

/**
 * Starts Prisma Studio on the database at `databaseUrl`; resolves when its page answers. Whoever reaches its port has
 * all rights of that URL's role, so it is not to be the owner's.
 * Throws `studio_missing`, `studio_failed` (port in use, database gone).
 */
export async function startStudio(options: {
  databaseUrl: string;
  /** A free one when absent. */
  port?: number;
}): Promise<Studio> {
  const args = ["--config", fileURLToPath(new URL("prisma/studio.config.ts", import.meta.url))];
  if (options.port !== undefined) args.push("--port", String(options.port));
  const child = spawn(
    process.execPath,
    [findPrismaCommand(), "studio", ...args, "--browser", "none"],
    {
      env: { ...process.env, ...prismaEnvironment, GUILDHALL_STUDIO_URL: options.databaseUrl },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const ended = once(child, "close").then(() => undefined);
  let output = "";
  const url = await new Promise<string | undefined>((resolve) => {
    const look = (chunk: Buffer): void => {
      output += chunk.toString();
      const [, found] = /running at:\s*(http:\/\/\S+)/.exec(output) ?? [];
      if (found !== undefined) resolve(found);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    void ended.finally(() => resolve(undefined));
  });
  if (url === undefined) {
    const busy = output.includes("EADDRINUSE");
    throw new AppError({
      code: "studio_failed",
      status: 500,
      publicMessage: busy
        ? `Port ${options.port} is in use by another program.`
        : `Prisma Studio did not start: ${output.trim()}`,
      hint: busy ? "Name another one with --port." : "Look whether the database can be reached.",
    });
  }
  return {
    url,
    ended,
    async close() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}
