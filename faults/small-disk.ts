import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import { hasCode } from "../server/platform/system-error.ts";
import { makeDataDir } from "../server/test/product.ts";

/** A disk of its own, which can be filled to the last byte. */
export type SmallDisk = {
  /** Everyone may enter it. */
  path: string;
  fill(): void;
  /** Takes away what filled it. */
  free(): Promise<void>;
  unmount(): Promise<void>;
};

async function mount(megabytes: number): Promise<string | undefined> {
  const path = await makeDataDir();
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", path]);
  if (mounted.status === 0) {
    await chmod(path, 0o755);
    return path;
  }
  await rm(path, { recursive: true });
  return undefined;
}

/** Pieces that become smaller, so that not a byte is left. */
function writeUntilFull(file: number): void {
  for (let bytes = 1_048_576; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    const piece = Buffer.alloc(bytes);
    try {
      for (;;) writeSync(file, piece);
    } catch (error) {
      if (!hasCode(error, "ENOSPC")) throw error;
    }
  }
}

/** Undefined, and said aloud, where this user may mount nothing. */
export async function openSmallDisk(megabytes: number): Promise<SmallDisk | undefined> {
  const path = await mount(megabytes);
  if (path === undefined) {
    console.warn("SKIPPED: no small disk could be mounted here (a tmpfs, which takes root)");
    return undefined;
  }
  const ballast = join(path, "ballast");
  return {
    path,
    fill() {
      const file = openSync(ballast, "a");
      writeUntilFull(file);
      closeSync(file);
    },
    free: () => rm(ballast, { force: true }),
    async unmount() {
      spawnSync("umount", ["-l", path]);
      await rm(path, { recursive: true, force: true });
    },
  };
}
