import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { readMigrations } from "../server/platform/migrate.ts";
import { checkout } from "../server/test/product.ts";
import { VERSION } from "../server/version.ts";

export const NEXT_VERSION = "999.0.0";

const PARTS = ["server", "sdk", "cli", "simulator", "web", "package.json"];

/** The release after this one: a copy of the checkout with one more migration. */
export async function makeNextRelease(migration: string) {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-next-"));
  const filter = (path: string): boolean => basename(path) !== "node_modules";
  for (const part of PARTS)
    await cp(join(checkout, part), join(folder, part), { recursive: true, filter });
  await symlink(join(checkout, "node_modules"), join(folder, "node_modules"));
  const version = join(folder, "server/version.ts");
  const text = await readFile(version, "utf8");
  await writeFile(version, text.replace(`"${VERSION}"`, `"${NEXT_VERSION}"`));
  const number = ((await readMigrations()).at(-1)?.version ?? 0) + 1;
  const name = `${String(number).padStart(4, "0")}_next_release.sql`;
  await writeFile(join(folder, "server/migrations", name), migration);
  return {
    program: join(folder, "server/bin.ts"),
    migration: number,
    remove: () => rm(folder, { recursive: true }),
  };
}
