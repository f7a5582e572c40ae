import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../../server/test/free-port.ts";
import { startProgram } from "../processes.ts";
import type { Peer } from "./peer.ts";

const VERSION = "1.15.2";
/** Of `@hono/node-server`; later ones break the gateway's streams. */
const NODE_SERVER = "1.13.8";
// Inside node_modules, so that it goes away with it, and nobody else can have put something there.
const FOLDER = fileURLToPath(
  new URL(`../../node_modules/.cache/guildhall-bench/portkey-${VERSION}`, import.meta.url),
);
const PROGRAM = join(FOLDER, "node_modules/@portkey-ai/gateway/build/start-server.js");

/** 25 MB from the registry, with nobody's install scripts: only who runs this bench gets it. */
async function install(): Promise<void> {
  const present = await access(PROGRAM).then(
    () => true,
    () => false,
  );
  if (present) return;
  await mkdir(FOLDER, { recursive: true });
  const manifest = {
    private: true,
    dependencies: { "@portkey-ai/gateway": VERSION, "@hono/node-server": NODE_SERVER },
    overrides: { "@hono/node-server": NODE_SERVER },
  };
  await writeFile(join(FOLDER, "package.json"), JSON.stringify(manifest));
  const npm = spawn("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], {
    cwd: FOLDER,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = (await once(npm, "exit")) as [number | null];
  if (code !== 0) throw new Error(`npm install of @portkey-ai/gateway ended with ${code}`);
}

/** The Portkey gateway in front of the provider. It has no budget of its own: that is part of its hosted product. */
export async function startPortkey(upstreamUrl: string): Promise<Peer> {
  await install();
  const port = await freePort();
  const portkey = await startProgram({
    command: process.execPath,
    args: [PROGRAM, `--port=${port}`, "--headless"],
    port,
    env: { NODE_ENV: "production" },
    startMs: 20_000,
  });
  const headers = {
    "x-api-key": "bench-provider-key",
    "x-portkey-provider": "anthropic",
    "x-portkey-custom-host": `${upstreamUrl}/v1`,
  };
  return {
    ...portkey,
    target: { name: "Portkey gateway", url: portkey.url, headersOf: () => headers },
  };
}
