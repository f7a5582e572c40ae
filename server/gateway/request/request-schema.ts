import { z } from "zod";

/** What the Messages protocol may carry here: everything whose cost is known. The rest is refused by name. */
const cacheControl = z
  .strictObject({ type: z.literal("ephemeral"), ttl: z.enum(["5m", "1h"]).optional() })
  .nullish();

const citation = z.record(z.string(), z.unknown());
const textBlock = z.strictObject({
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
const toolResultBlock = z.strictObject({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: z
    .union([
      z.string(),
      z.array(
        z.discriminatedUnion(
          "type",
          [textBlock, imageBlock, documentBlock, searchResultBlock],
          blockError,
        ),
      ),
    ])
    .optional(),
  is_error: z.boolean().optional(),
  toolset_name: z.null().optional(),
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
  ],
  blockError,
);

const message = z.strictObject({
  role: z.enum(["user", "assistant", "system"]),
  content: z.union([z.string(), z.array(contentBlock)]),
});

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
  type: z.enum([
    "bash_20250124",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "memory_20250818",
  ]),
  name: z.string().min(1),
  max_characters: z.int().min(1).nullish(),
  ...toolOptions,
});

const parallel = { disable_parallel_tool_use: z.boolean().optional() };
const toolChoice = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("auto"), ...parallel }),
  z.strictObject({ type: z.literal("any"), ...parallel }),
  z.strictObject({ type: z.literal("tool"), name: z.string(), ...parallel }),
  z.strictObject({ type: z.literal("none") }),
]);

const display = { display: z.enum(["summarized", "omitted"]).nullish() };
const thinking = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("enabled"),
    budget_tokens: z.int().min(1_024),
    ...display,
  }),
  z.strictObject({ type: z.literal("adaptive"), ...display }),
  z.strictObject({ type: z.literal("between_tools") }),
  z.strictObject({ type: z.literal("disabled") }),
]);

const common = {
  model: z.string(),
  messages: z.array(message).min(1).max(100_000),
  system: z.union([z.string(), z.array(textBlock)]).optional(),
  tools: z
    .array(
      z.union([customTool, clientTool], {
        error: (issue) => toolError(issue.input),
      }),
    )
    .optional(),
  tool_choice: toolChoice.optional(),
  thinking: thinking.optional(),
  cache_control: cacheControl,
  output_config: z
    .strictObject({
      effort: z.enum(["low", "medium", "high", "xhigh", "max"]).nullish(),
      format: z
        .strictObject({
          type: z.literal("json_schema"),
          schema: z.record(z.string(), z.unknown()),
        })
        .nullish(),
    })
    .optional(),
};

function toolError(input: unknown): string | undefined {
  const type: unknown =
    input !== null && typeof input === "object" && "type" in input ? input.type : null;
  return typeof type === "string" &&
    type !== "custom" &&
    !clientTool.shape.type.safeParse(type).success
    ? `tools of type ${JSON.stringify(type.slice(0, 60))} are not accepted: they run at the provider or have no price here`
    : undefined;
}

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
  speed: z
    .literal("standard", { error: 'only "standard": fast mode costs more than the hold covers' })
    .nullish(),
});

/** The body of `POST /v1/messages/count_tokens`. */
export const countSchema = z.strictObject(common);

export type MessagesBody = z.infer<typeof messagesSchema>;
export type CountBody = z.infer<typeof countSchema>;
export type RequestMessage = z.infer<typeof message>;
export type RequestBlock = z.infer<typeof contentBlock>;
export type RequestTool = NonNullable<CountBody["tools"]>[number];

/** The first fault of a refused body: the deepest issue says most. */
export function firstFault(error: z.ZodError): { field: string; message: string } {
  const deepest = (issues: readonly z.core.$ZodIssue[], prefix: readonly PropertyKey[]): Fault[] =>
    issues.flatMap((issue) => {
      const path = [...prefix, ...issue.path];
      const own: Fault = { path, message: messageOf(issue), extra: keysOf(issue) };
      // A union that has its own words for the fault knows more than its branches do.
      if (issue.code !== "invalid_union" || issue.message !== "Invalid input") return [own];
      return [own, ...issue.errors.flatMap((errors) => deepest(errors, path))];
    });
  const faults = deepest(error.issues.slice(0, 1), []);
  const best = faults.reduce<Fault | undefined>(
    (a, b) => (a === undefined || depthOf(b) > depthOf(a) ? b : a),
    undefined,
  );
  return {
    field: [...(best?.path ?? []), ...(best?.extra ?? [])].map(String).join("."),
    message: best?.message ?? "is not valid",
  };
}

type Fault = { path: readonly PropertyKey[]; message: string; extra: readonly string[] };

function depthOf(fault: Fault): number {
  return fault.path.length + fault.extra.length;
}

function keysOf(issue: z.core.$ZodIssue): string[] {
  return issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.code === "unrecognized_keys"
    ? "this field is not accepted: what it costs is not known"
    : issue.message;
}
