import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { prismaEnvironment } from "./environment.ts";

const SCHEMA = new URL("schema.prisma", import.meta.url);
/** What the generated client was made from; absent in a fresh clone. */
const STAMP = new URL("generated/made-from", import.meta.url);

async function stampOf(prismaManifest: string): Promise<string> {
  const hash = createHash("sha256");
  for (const file of [SCHEMA, prismaManifest]) hash.update(await readFile(file));
  return hash.digest("hex");
}

/** Path of Prisma's package.json; undefined in an installation without its development dependencies. */
function findPrisma(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve("prisma/package.json");
  } catch {
    return undefined;
  }
}

/** Makes the typed client of schema.prisma, unless it is there already. Needs no network. -> exit code */
async function generate(): Promise<number> {
  const manifest = findPrisma();
  if (manifest === undefined) {
    process.stderr.write(
      "✖ The Prisma client was not generated, for the package prisma is not installed. Run npm ci without --omit=dev.\n",
    );
    // An installation for production brings the client along, generated where it was built.
    return 0;
  }
  const stamp = await stampOf(manifest);
  if ((await readFile(STAMP, "utf8").catch(() => "")) === stamp) return 0;
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(import.meta.resolve("prisma/build/index.js")),
      "generate",
      "--schema",
      fileURLToPath(SCHEMA),
    ],
    { env: { ...process.env, ...prismaEnvironment }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code === 0) await writeFile(STAMP, stamp);
  else process.stderr.write(`✖ The Prisma client could not be generated.\n${output}`);
  return code ?? 1;
}

process.exitCode = await generate();
