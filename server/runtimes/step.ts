import { tokenUsageSchema } from "@guildhall/sdk/contract/event.ts";
import { z } from "zod";

const toolUseSchema = z.object({
  type: z.literal("tool_use"),
  id: z.string().min(1),
  name: z.string().min(1),
  input: z.record(z.string(), z.unknown()),
});

/** The parts of a model's answer that are kept and sent back in the next request (Messages protocol). */
export const contentBlockSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text"), text: z.string() }),
  z.object({ type: z.literal("thinking"), thinking: z.string(), signature: z.string() }),
  z.object({ type: z.literal("redacted_thinking"), data: z.string() }),
  toolUseSchema,
]);
export type ContentBlock = z.infer<typeof contentBlockSchema>;
export type ToolUse = z.infer<typeof toolUseSchema>;

const modelStepSchema = z.object({
  kind: z.literal("model"),
  stepNo: z.int().min(1),
  state: z.literal("done"),
  body: z.object({
    model: z.string(),
    content: z.array(contentBlockSchema),
    stop_reason: z.string(),
    usage: tokenUsageSchema,
    hold_id: z.string().nullable(),
  }),
});

const toolStepSchema = z.object({
  kind: z.literal("tool"),
  stepNo: z.int().min(1),
  /**
   * unknown: it began, the worker died, and it may not be repeated. Without `content` nobody has said yet what came of
   * it.
   */
  state: z.enum(["started", "done", "unknown"]),
  body: z.object({
    tool_use_id: z.string(),
    name: z.string(),
    input: z.record(z.string(), z.unknown()),
    content: z.string().optional(),
    is_error: z.boolean().optional(),
    /** Answered without being run, because it went on with a repetition. */
    refused: z.literal(true).optional(),
    /** Started, and left of its own accord until something else happens. */
    parked: z.literal(true).optional(),
  }),
});

/** What a run starts from again: one model answer or one tool call, as it is stored (the body is the stored JSON). */
export const stepSchema = z.discriminatedUnion("kind", [modelStepSchema, toolStepSchema]);
export type Step = z.infer<typeof stepSchema>;
export type ModelStep = z.infer<typeof modelStepSchema>;
export type ToolStep = z.infer<typeof toolStepSchema>;
