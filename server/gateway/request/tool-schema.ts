import { z } from "zod";
import { cacheControl } from "./cache-control.ts";
import { TOOL_TYPES } from "./tool-types.ts";

const toolOptions = {
  cache_control: cacheControl,
  strict: z.boolean().optional(),
  defer_loading: z.boolean().optional(),
  allowed_callers: z
    .array(
      z.literal("direct", {
        error: "only direct: code execution at the provider has fees that no hold covers",
      }),
    )
    .optional(),
  input_examples: z.array(z.record(z.string(), z.unknown())).optional(),
};
const customTool = z.strictObject({
  type: z.literal("custom").nullish(),
  name: z.string().min(1),
  description: z.string().optional(),
  input_schema: z.looseObject({ type: z.literal("object") }),
  eager_input_streaming: z.boolean().nullish(),
  ...toolOptions,
});
/** Tools of the provider that run at the client: no fee, only a definition that the provider writes. */
const clientTool = z.strictObject({
  type: z.string().refine((type) => TOOL_TYPES[type] === "client", { abort: true }),
  name: z.string().min(1),
  max_characters: z.int().min(1).nullish(),
  ...toolOptions,
});

function refusalOf(input: unknown): string | undefined {
  const type: unknown =
    input !== null && typeof input === "object" && "type" in input ? input.type : null;
  if (typeof type !== "string" || type === "custom") return undefined;
  const found = Object.hasOwn(TOOL_TYPES, type) ? TOOL_TYPES[type] : undefined;
  if (found === "client") return undefined;
  return `tools of type ${JSON.stringify(type.slice(0, 60))} are not accepted: ${found?.refused ?? "what they cost is not known"}`;
}

/** A tool that the model may ask for. */
export const requestTool = z.union([customTool, clientTool], {
  error: (issue) => refusalOf(issue.input),
});
