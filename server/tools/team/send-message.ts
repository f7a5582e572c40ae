import { z } from "zod";
import { defineTool } from "../tools.ts";
import { agentName, teamOf } from "./team-of.ts";

export const sendMessage = defineTool({
  name: "send_message",
  description:
    "Puts a message into the inbox of another agent, who reads it when it next works on a task. You get no answer in " +
    'this call; look for one with check_inbox later. Returns {"message_id","to"}. ' +
    "For work that you need back in this task use delegate_task, if you have it.",
  input: z.strictObject({
    to: z.string().trim().toLowerCase().min(1).max(64).describe(agentName),
    subject: z.string().trim().min(1).max(200),
    body: z.string().trim().min(1).max(10_000).describe("Plain text or markdown."),
  }),
  effect: "idempotent",
  permission: "team",
  costRule: "free",
  async run({ to, subject, body }, ctx) {
    const { idempotencyKey } = ctx;
    const sent = await teamOf(ctx).send({ idempotencyKey, to, subject, body });
    return {
      isError: false,
      content: JSON.stringify({ message_id: sent.messageId, to: sent.to }),
      summary: `Sent "${subject}" to ${sent.to}`,
    };
  },
});
