import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { onTestFinished } from "vitest";
import { createBuiltInTools } from "./built-in-tools.ts";
import { openRunFolder, type OpenRunFolderOptions, type RunFolder } from "./run-folder.ts";
import { createToolRegistry, type ToolOutcome, type ToolResult } from "./tools.ts";

/** A new folder that is gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), "tools-test-")));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

const roomy = { maxFileBytes: 200_000_000, maxTotalBytes: 400_000_000, maxFiles: 1000 };

/** A run folder named `run` in a temporary folder `base` of its own. */
export async function openTestFolder(options: Partial<OpenRunFolderOptions> = {}) {
  const base = await temporaryFolder();
  const root = join(base, "run");
  const folder = await openRunFolder({ limits: roomy, ...options, root });
  return { base, root, folder };
}

export async function putInput(
  folder: RunFolder,
  name: string,
  content: string | Uint8Array | Iterable<string>,
): Promise<string> {
  const chunks = typeof content === "string" || content instanceof Uint8Array ? [content] : content;
  const { path } = await folder.copyIn(Readable.from(chunks), `input/${name}`);
  return path;
}

/** The outcome of a call that does not wait for anything. */
export function resultOf(outcome: ToolOutcome): ToolResult {
  if ("reason" in outcome) throw new Error(`the call waits: ${JSON.stringify(outcome.reason)}`);
  return outcome;
}

/** The built-in tools over a fresh folder; an unexpected exception fails the test. */
export async function openToolbox() {
  const { base, root, folder } = await openTestFolder();
  const scratchFolder = join(base, "scratch");
  const registry = createToolRegistry(createBuiltInTools({ scratchFolder }), {
    onUnexpected: ({ error }) => {
      throw error;
    },
  });
  async function call(
    name: string,
    input: unknown,
    signal = new AbortController().signal,
  ): Promise<ToolResult> {
    const ctx = { folder, signal, idempotencyKey: "call_1" };
    return resultOf(await registry.execute({ name, input, ctx }));
  }
  /** For a call that must succeed: its content, parsed as what the tool documents. */
  async function read<T>(name: string, input: unknown): Promise<T> {
    const result = await call(name, input);
    if (result.isError) throw new Error(`${name} failed: ${result.content}`);
    const parsed: T = JSON.parse(result.content);
    return parsed;
  }
  return { base, root, folder, scratchFolder, registry, call, read };
}
