import { z } from "zod";
import { cacheControl } from "./cache-control.ts";
import { effort, requestMessage, textBlock } from "./content-schema.ts";
import { requestTool } from "./tool-schema.ts";

const parallel = { disable_parallel_tool_use: z.boolean().optional() };
const toolChoice = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("auto"), ...parallel }),
  z.strictObject({ type: z.literal("any"), ...parallel }),
  z.strictObject({ type: z.literal("tool"), name: z.string(), ...parallel }),
  z.strictObject({ type: z.literal("none") }),
]);

const shown = {
  display: z.enum(["summarized", "omitted", "updates"]).nullish(),
  block_binding: z
    .strictObject({ prefix_mismatch_behavior: z.enum(["error", "drop_block"]).nullish() })
    .nullish(),
};
const thinking = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("enabled"),
    budget_tokens: z.int().min(1_024),
    ...shown,
  }),
  z.strictObject({ type: z.literal("adaptive"), ...shown }),
  z.strictObject({ type: z.literal("between_tools") }),
  z.strictObject({ type: z.literal("disabled") }),
]);

const answerFormat = z.strictObject({
  type: z.literal("json_schema"),
  schema: z.record(z.string(), z.unknown()),
});

const common = {
  model: z.string(),
  messages: z.array(requestMessage).min(1).max(100_000),
  system: z.union([z.string(), z.array(textBlock)]).optional(),
  tools: z.array(requestTool).optional(),
  tool_choice: toolChoice.optional(),
  thinking: thinking.optional(),
  cache_control: cacheControl,
  output_config: z
    .strictObject({
      effort,
      format: answerFormat.nullish(),
      task_budget: z
        .strictObject({
          type: z.literal("tokens"),
          total: z.int().min(1),
          remaining: z.int().min(0).nullish(),
        })
        .nullish(),
    })
    .optional(),
  output_format: answerFormat.nullish(),
  speed: z
    .literal("standard", { error: 'only "standard": fast mode costs more than the hold covers' })
    .nullish(),
};

/** The body of `POST /v1/messages` after optional fields were taken out. Field names are the protocol's. */
export const messagesSchema = z.strictObject({
  ...common,
  max_tokens: z.int().min(1),
  stream: z.boolean().optional(),
  stop_sequences: z.array(z.string()).max(1_000).optional(),
  temperature: z.number().min(0).max(1).optional(),
  top_p: z.number().min(0).max(1).optional(),
  top_k: z.int().min(0).optional(),
  metadata: z.strictObject({ user_id: z.string().max(1_000).nullish() }).optional(),
  service_tier: z.enum(["auto", "standard_only"]).optional(),
  inference_geo: z
    .literal("global", { error: 'only "global": other regions cost more than the hold covers' })
    .nullish(),
});

/** The body of `POST /v1/messages/count_tokens`. */
export const countSchema = z.strictObject(common);

export type MessagesBody = z.infer<typeof messagesSchema>;
export type CountBody = z.infer<typeof countSchema>;
export type RequestMessage = z.infer<typeof requestMessage>;
export type RequestBlock = Exclude<NonNullable<RequestMessage["content"]>, string>[number];
export type RequestTool = NonNullable<CountBody["tools"]>[number];
