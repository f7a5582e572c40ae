/** Builds the page into the folder that is given as the only argument. Started by build.ts as a process of its own. */
import { build } from "vite";
import { viteConfig } from "./vite-config.ts";

const [, , outDir] = process.argv;
if (outDir === undefined) throw new Error("Give the folder to build into.");
await build(viteConfig({ outDir }));
