import { readFile, writeFile } from "node:fs/promises";
import { withConfigTable } from "./platform/config-table.ts";

const README = new URL("../README.md", import.meta.url);
await writeFile(README, withConfigTable(await readFile(README, "utf8")));
