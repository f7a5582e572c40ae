import { z } from "zod";
import { cacheControl } from "./cache-control.ts";
import { requestTool } from "./tool-schema.ts";

// What the Messages protocol may carry in messages here: everything whose cost is known. The rest is refused by name.

export const effort = z.enum(["low", "medium", "high", "xhigh", "max"]).nullish();

const citation = z.record(z.string(), z.unknown());
export const textBlock = z.strictObject({
  type: z.literal("text"),
  text: z.string(),
  citations: z.array(citation).nullish(),
  cache_control: cacheControl,
});

/** Sources by URL and file id are refused: their size is unknown before the provider has fetched them. */
const sourceError = {
  error:
    "only content that is sent along is accepted (base64 or text); what a URL or a file id costs is not known beforehand",
};
const imageSource = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("base64"),
      media_type: z.enum(["image/jpeg", "image/png", "image/gif", "image/webp"]),
      data: z.string(),
    }),
  ],
  sourceError,
);
const imageBlock = z.strictObject({
  type: z.literal("image"),
  source: imageSource,
  cache_control: cacheControl,
  transformations: z
    .strictObject({ oversized_image: z.enum(["downsize", "error"]).optional() })
    .nullish(),
});

const documentSource = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("base64"),
      media_type: z.literal("application/pdf"),
      data: z.string(),
    }),
    z.strictObject({
      type: z.literal("text"),
      media_type: z.literal("text/plain"),
      data: z.string(),
    }),
    z.strictObject({
      type: z.literal("content"),
      content: z.union([
        z.string(),
        z.array(z.discriminatedUnion("type", [textBlock, imageBlock])),
      ]),
    }),
  ],
  sourceError,
);
const citationsConfig = z.strictObject({ enabled: z.boolean().optional() }).nullish();
const documentBlock = z.strictObject({
  type: z.literal("document"),
  source: documentSource,
  title: z.string().nullish(),
  context: z.string().nullish(),
  citations: citationsConfig,
  cache_control: cacheControl,
});
const searchResultBlock = z.strictObject({
  type: z.literal("search_result"),
  source: z.string(),
  title: z.string(),
  content: z.array(textBlock),
  citations: citationsConfig,
  cache_control: cacheControl,
});

const thinkingBlock = z.strictObject({
  type: z.literal("thinking"),
  thinking: z.string(),
  signature: z.string(),
});
const redactedThinkingBlock = z.strictObject({
  type: z.literal("redacted_thinking"),
  data: z.string(),
});
const toolUseBlock = z.strictObject({
  type: z.literal("tool_use"),
  id: z.string(),
  name: z.string(),
  input: z.unknown(),
  caller: z.strictObject({ type: z.literal("direct") }).nullish(),
  toolset_name: z.null().optional(),
  cache_control: cacheControl,
});
const blockError = {
  error:
    "this kind of content block is not accepted: it belongs to a feature whose cost cannot be limited beforehand",
};
/** The definition of a deferred tool is put in here; it stands in `tools`, which the bound counts. */
const toolReferenceBlock = z.strictObject({
  type: z.literal("tool_reference"),
  tool_name: z.string(),
  cache_control: cacheControl,
});
const toolResultBlock = z.strictObject({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: z
    .union([
      z.string(),
      z.array(
        z.discriminatedUnion(
          "type",
          [textBlock, imageBlock, documentBlock, searchResultBlock, toolReferenceBlock],
          blockError,
        ),
      ),
    ])
    .optional(),
  is_error: z.boolean().optional(),
  toolset_name: z.null().optional(),
  cache_control: cacheControl,
});

export const namedTool = z.strictObject({ type: z.literal("tool_reference"), name: z.string() });
const toolAdditionBlock = z.strictObject({
  type: z.literal("tool_addition"),
  tool: z.discriminatedUnion("type", [
    namedTool,
    z.strictObject({ type: z.literal("tool_definition"), definition: requestTool }),
  ]),
  cache_control: cacheControl,
});
const toolRemovalBlock = z.strictObject({
  type: z.literal("tool_removal"),
  tool: namedTool,
  cache_control: cacheControl,
});

const contentBlock = z.discriminatedUnion(
  "type",
  [
    textBlock,
    imageBlock,
    documentBlock,
    searchResultBlock,
    thinkingBlock,
    redactedThinkingBlock,
    toolUseBlock,
    toolResultBlock,
    toolAdditionBlock,
    toolRemovalBlock,
  ],
  blockError,
);

const content = z.union([z.string(), z.array(contentBlock)]);

/** One turn. System turns may stand in the middle of a conversation and change its effort. */
export const requestMessage = z.discriminatedUnion("role", [
  z.strictObject({ role: z.literal("user"), content }),
  z.strictObject({ role: z.literal("assistant"), content }),
  z.strictObject({
    role: z.literal("system"),
    content: content.optional(),
    clear_at: z.enum(["next_user_message", "never"]).nullish(),
    output_config: z.strictObject({ effort }).nullish(),
  }),
]);
