import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hashSources } from "./build-stamp.ts";
import { viteConfig, webFolder } from "./vite-config.ts";

const stampName = "build.sha256";

function sourcesHash(): Promise<string> {
  const root = join(webFolder, "..");
  return hashSources({
    folders: [webFolder, join(root, "sdk", "contract"), join(root, "sdk", "client")],
    // Without a lockfile (in a package) the installed versions cannot change beneath the sources.
    files: [join(root, "package-lock.json")],
  });
}

async function stampOf(folder: string): Promise<string | undefined> {
  return readFile(join(folder, stampName), "utf8").catch(() => undefined);
}

/**
 * Builds the page into `outDir` when its sources, the client or the lockfile have changed since the last build there,
 * or with `force`. Reading the sources takes milliseconds, so every start may ask. A build that fails or is
 * killed leaves what was there before.
 */
export async function buildWeb({
  outDir,
  force = false,
}: {
  outDir: string;
  force?: boolean;
}): Promise<{ built: boolean; folder: string }> {
  const hash = await sourcesHash();
  if (!force && (await stampOf(outDir)) === hash) return { built: false, folder: outDir };
  const fresh = `${outDir}.${randomBytes(4).toString("hex")}`;
  try {
    await mkdir(fresh, { recursive: true });
    // Loaded only when there is something to build: it costs more than all the rest of a start.
    const { build } = await import("vite");
    await build(viteConfig({ outDir: fresh }));
    await writeFile(join(fresh, stampName), hash);
    await rm(outDir, { recursive: true, force: true });
    await rename(fresh, outDir);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return { built: true, folder: outDir };
}
