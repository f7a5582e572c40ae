import { readdir, readFile } from "node:fs/promises";
import { dirname, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { packages, ranks } from "./ranks.ts";

const root = resolve(fileURLToPath(import.meta.url), "../..");
type Import = { from: string; to: string };

async function sources(folder: string): Promise<string[]> {
  const entries = await readdir(resolve(root, folder), { recursive: true });
  return entries
    .filter(
      (name) =>
        /\.tsx?$/.test(name) &&
        !name.includes("node_modules") &&
        !/(^|[\\/])(dist|generated)[\\/]/.test(name),
    )
    .map((name) => `${folder}/${name.split(sep).join("/")}`);
}

async function importsOf(file: string): Promise<Import[]> {
  const text = await readFile(resolve(root, file), "utf8");
  const found: Import[] = [];
  for (const [, name = ""] of text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)) {
    if (name.startsWith("."))
      found.push({
        from: file,
        to: relative(root, resolve(root, dirname(file), name))
          .split(sep)
          .join("/"),
      });
    else if (name.startsWith("@guildhall/"))
      found.push({ from: file, to: name.slice("@guildhall/".length) });
  }
  return found;
}

async function allImports(folders: readonly string[]): Promise<Import[]> {
  const files = (await Promise.all(folders.map(sources))).flat();
  return (await Promise.all(files.map(importsOf))).flat();
}

const isTest = (file: string): boolean =>
  /(\.test\.tsx?|fixture\.ts)$/.test(file) ||
  /\/test\//.test(file) ||
  file.startsWith("server/test/") ||
  file.startsWith("web/browser/");

it("a slice imports only slices of a lower rank", async () => {
  const order: readonly string[] = ranks;
  const wrong = (await allImports(["server"])).filter(({ from, to }) => {
    const [, slice = ""] = from.split("/");
    const [top, target = ""] = to.split("/");
    if (isTest(from) || top !== "server" || !order.includes(slice)) return false;
    // The client that is generated from the database's schema lies below every slice.
    if (to.startsWith("server/prisma/generated/")) return false;
    // Files directly in server/ compose the slices, so no slice may import them either.
    return !order.includes(target) || order.indexOf(target) > order.indexOf(slice);
  });
  expect(wrong).toEqual([]);
});

it("every folder of the server is a ranked slice", async () => {
  const entries = await readdir(resolve(root, "server"), { withFileTypes: true });
  const unknown = entries
    .filter(
      (entry) =>
        entry.isDirectory() &&
        !["migrations", "test", "node_modules", "prisma"].includes(entry.name),
    )
    .filter((entry) => !(ranks as readonly string[]).includes(entry.name));
  expect(unknown.map((entry) => entry.name)).toEqual([]);
});

it("a workspace imports only the workspaces that it may know", async () => {
  const allowed: Readonly<Record<string, readonly string[]>> = packages;
  const wrong = (await allImports(Object.keys(packages))).filter(({ from, to }) => {
    const [source = ""] = from.split("/");
    const [target = ""] = to.split("/");
    if (isTest(from) || source === target || !(target in allowed)) return false;
    if (source === "web" || source === "cli") return target !== "sdk";
    if (from.startsWith("sdk/contract/")) return true;
    return !allowed[source]?.includes(target);
  });
  expect(wrong).toEqual([]);
});

it("no import leads back to itself", async () => {
  const graph = new Map<string, string[]>();
  for (const { from, to } of await allImports(["server", "sdk", "cli", "simulator", "web"])) {
    if (!isTest(from)) graph.set(from, [...(graph.get(from) ?? []), to]);
  }
  const done = new Set<string>();
  const cycles: string[] = [];
  function visit(file: string, path: readonly string[]): void {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
    else if (!done.has(file)) {
      for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    }
  }
  for (const file of graph.keys()) visit(file, []);
  expect(cycles).toEqual([]);
});
