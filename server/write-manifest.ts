import { writeFile } from "node:fs/promises";
import { manifestOf, readMigrations } from "./platform/migrate.ts";

await writeFile(
  new URL("./migrations/manifest.json", import.meta.url),
  manifestOf(await readMigrations()),
);
