import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import type { InlineConfig } from "vite";

export const webFolder = fileURLToPath(new URL(".", import.meta.url));

/**
 * How the page is built. Nothing is inlined, neither scripts nor pictures nor fonts: the server's policy lets the page
 * load from its own origin and nowhere else.
 */
export function viteConfig({ outDir }: { outDir: string }): InlineConfig {
  return {
    configFile: false,
    root: webFolder,
    base: "/",
    logLevel: "warn",
    plugins: [react()],
    build: {
      outDir,
      emptyOutDir: true,
      assetsInlineLimit: 0,
      cssCodeSplit: true,
      target: "es2023",
      // The reporter compresses every file only to print its size.
      reportCompressedSize: false,
    },
  };
}
