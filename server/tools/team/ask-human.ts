import { z } from "zod";
import { defineTool } from "../tools.ts";
import { teamOf } from "./team-of.ts";

export const askHuman = defineTool({
  name: "ask_human",
  description:
    "Asks the person you work for and waits for the answer, which may take hours. Ask only what you can neither find " +
    'out nor decide yourself, and one thing at a time. Returns {"answer"}.',
  input: z.strictObject({
    question: z
      .string()
      .trim()
      .min(1)
      .max(4_000)
      .describe("The question, with what one must know to answer it."),
  }),
  effect: "idempotent",
  permission: "human",
  costRule: "free",
  async run({ question }, ctx) {
    const asked = await teamOf(ctx).ask({ idempotencyKey: ctx.idempotencyKey, question });
    if (asked.status === "answered")
      return {
        isError: false,
        content: JSON.stringify({ answer: asked.answer }),
        summary: `Got an answer to "${question}"`,
      };
    const reason = { kind: "question" as const, question_id: asked.questionId, question };
    return { status: "park", reason };
  },
});
