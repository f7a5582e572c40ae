import { createHash } from "node:crypto";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const WEB = fileURLToPath(new URL("./", import.meta.url));
/** What the page is made of beside its own folder: the contract, and the versions of everything else. */
const OTHER_SOURCES = ["../sdk/contract", "../package-lock.json"];
const STAMP = "source-hash";

async function filesOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(
    () => undefined,
  );
  if (!entries) return [path];
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !/\.test\.tsx?$/.test(file) && !file.split(sep).includes("node_modules"));
}

/** Changes with any byte of the sources, and with nothing else. */
async function hashSources(): Promise<string> {
  const paths = [WEB, ...OTHER_SOURCES.map((path) => resolve(WEB, path))];
  const files = (await Promise.all(paths.map(filesOf))).flat().toSorted();
  const hash = createHash("sha256");
  for (const file of files)
    hash
      .update(file.slice(WEB.length))
      .update("\0")
      .update(await readFile(file))
      .update("\0");
  return hash.digest("hex");
}

/**
 * Builds the page into `outDir` when its sources changed since the last build there.
 * -> whether it was built now, and the folder to serve
 */
export async function buildWeb(options: {
  outDir: string;
  force?: boolean;
}): Promise<{ built: boolean; folder: string }> {
  const folder = resolve(options.outDir);
  const stampFile = `${folder}.${STAMP}`;
  const hash = await hashSources();
  const stamp = await readFile(stampFile, "utf8").catch(() => "");
  if (stamp === hash && !options.force) return { built: false, folder };
  // Loaded only for a build: it takes longer to load than a start without one may take.
  const { build } = await import("vite");
  const { default: config } = await import("./vite.config.ts");
  await rm(stampFile, { force: true });
  await build({
    ...config,
    root: WEB,
    configFile: false,
    logLevel: "warn",
    build: { ...config.build, outDir: folder, emptyOutDir: true },
  });
  await writeFile(stampFile, hash);
  return { built: true, folder };
}
