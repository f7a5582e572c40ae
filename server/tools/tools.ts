import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { z } from "zod";
import { AppError, invariant } from "../platform/errors.ts";
import { capText } from "./result-text.ts";
import type { RunFolder } from "./run-folder.ts";
import type { TeamPort } from "./team/team-port.ts";

/**
 * What a second execution of the same call would do. After a crash `read` and `idempotent` tools are
 * run again; an `at_most_once` call whose outcome is unknown is never repeated silently.
 */
export type ToolEffect = "read" | "idempotent" | "at_most_once";

/** What a policy grants or denies. */
export type ToolPermission = "files:read" | "files:write" | "data:read" | "team" | "human";

/** What a call costs beside the model's tokens. Only tools with a rule may run under a hard cap. */
export type ToolCostRule = "free";

export type ToolContext = {
  folder: RunFolder;
  /** Aborts when the run is cancelled or its lease is lost. */
  signal: AbortSignal;
  /** The same for every execution of one call (run, step): a tool with effects deduplicates by it. */
  idempotencyKey: string;
  /** Colleagues and people; absent where the run has none. */
  team?: TeamPort;
};

export type ToolResult = {
  isError: boolean;
  /** What the model reads: JSON or text, at most 64 KB as UTF-8. */
  content: string;
  /** One line for people, for example "Read input/a.csv (120 lines)". */
  summary: string;
  /** Set when the call created or replaced a file of the run. */
  wrote?: { path: string; sizeBytes: number };
};

/**
 * The call cannot be answered before something happens elsewhere. The run gives its slot back; when it goes on, the
 * same call is executed again with the same idempotency key.
 */
export type ToolPark = { status: "park"; reason: Extract<Parked, { kind: "question" | "child" }> };
export type ToolOutcome = ToolResult | ToolPark;

export type Tool<I> = {
  /** `[a-zA-Z0-9_-]{1,64}`, unique in a registry (Messages protocol). */
  name: string;
  /** Read by the model: what it does, what it returns, its limits. */
  description: string;
  input: z.ZodType<I>;
  effect: ToolEffect;
  permission: ToolPermission;
  costRule: ToolCostRule;
  run(input: I, ctx: ToolContext): Promise<ToolOutcome>;
};

/** A tool definition of the Messages protocol (`POST /v1/messages`, field `tools`). */
export type ToolDefinition = {
  name: string;
  description: string;
  /** JSON Schema of an object. */
  input_schema: { type: "object"; [key: string]: unknown };
};

/** A tool whose input type is sealed inside, so that tools of different inputs fit in one list. */
export type SealedTool = Omit<Tool<never>, "input" | "run"> & {
  readonly definition: ToolDefinition;
  /** Validates and runs. A wrong input is an `isError` result; whatever `run` throws passes through. */
  call(rawInput: unknown, ctx: ToolContext): Promise<ToolOutcome>;
};

function objectSchema(name: string, input: z.ZodType): ToolDefinition["input_schema"] {
  const { $schema: _dialect, ...schema } = z.toJSONSchema(input, { io: "input" });
  invariant(schema.type === "object", `the input of tool ${name} is an object`);
  return { ...schema, type: "object" };
}

function describeProblems(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      const field = issue.path.map(String).join(".");
      return field === "" ? issue.message : `${field}: ${issue.message}`;
    })
    .join("; ");
}

/** Declares a tool once, for every runtime. */
export function defineTool<I>(tool: Tool<I>): SealedTool {
  invariant(/^[a-zA-Z0-9_-]{1,64}$/.test(tool.name), `"${tool.name}" is a valid tool name`);
  const { name, description, effect, permission, costRule, input } = tool;
  const definition = { name, description, input_schema: objectSchema(name, input) };
  return {
    name,
    description,
    effect,
    permission,
    costRule,
    definition,
    async call(rawInput, ctx) {
      const parsed = input.safeParse(rawInput);
      if (parsed.success) return tool.run(parsed.data, ctx);
      return failure(
        `The input of ${name} is not valid: ${describeProblems(parsed.error)}. ` +
          `It must match this JSON schema: ${JSON.stringify(definition.input_schema)}`,
        `${name} was called with an input that is not valid`,
      );
    },
  };
}

function failure(content: string, summary: string): ToolResult {
  return { isError: true, content, summary };
}

function isAbort(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted || (error instanceof Error && error.name === "AbortError");
}

export type ToolCall = { name: string; input: unknown; ctx: ToolContext };

export type ToolRegistry = {
  /** The definitions to send to the model, in the order of `names`. A name without a tool is a bug. */
  definitions(names: readonly string[]): ToolDefinition[];
  find(name: string): SealedTool | undefined;
  /**
   * Runs one call as the model wrote it. An unknown tool, a wrong input and an expected failure are
   * `isError` results that tell the model what to do. Throws only when `ctx.signal` aborts (the
   * signal's reason) or a tool throws an `AbortError`.
   */
  execute(call: ToolCall): Promise<ToolOutcome>;
};

/**
 * The tools of one process. `onUnexpected` gets every exception that is no `AppError`: the model sees
 * a fixed text then, because such an exception may carry paths or data of the machine.
 */
export function createToolRegistry(
  tools: readonly SealedTool[],
  { onUnexpected }: { onUnexpected: (report: { tool: string; error: unknown }) => void },
): ToolRegistry {
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  invariant(byName.size === tools.length, "tool names are unique");

  function toResult(name: string, error: unknown): ToolResult {
    if (error instanceof AppError) {
      const hint = error.hint === undefined ? "" : ` ${error.hint}`;
      return failure(`${error.publicMessage}${hint}`, `${name} failed: ${error.publicMessage}`);
    }
    onUnexpected({ tool: name, error });
    return failure(
      `${name} failed for a reason inside Guildhall, not because of its input. ` +
        "The operator can see the cause in the log. Try once more, or go on without it.",
      `${name} failed for a reason inside Guildhall`,
    );
  }

  return {
    definitions: (names) =>
      names.map((name) => {
        const tool = byName.get(name);
        invariant(tool !== undefined, `tool "${name}" is registered`);
        return tool.definition;
      }),
    find: (name) => byName.get(name),
    async execute({ name, input, ctx }) {
      ctx.signal.throwIfAborted();
      const tool = byName.get(name);
      if (tool === undefined) {
        const known = [...byName.keys()].join(", ");
        const shown = JSON.stringify(name.slice(0, 100));
        return failure(
          `There is no tool ${shown}. The tools are: ${known}.`,
          `Unknown tool ${shown}`,
        );
      }
      try {
        const result = await tool.call(input, ctx);
        if ("reason" in result) return result;
        return { ...result, content: capText(result.content), summary: oneLine(result.summary) };
      } catch (error) {
        ctx.signal.throwIfAborted();
        if (isAbort(error, ctx.signal)) throw error;
        return toResult(name, error);
      }
    },
  };
}

function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > 300 ? `${line.slice(0, 299)}…` : line;
}
