import { z } from "zod";
import type { Conversation } from "../personas/conversation.ts";
import type { Stage } from "../personas/persona.ts";
import { lastError, resultsOf } from "./tool-results.ts";
import { writtenFiles } from "./asked-file.ts";

const answer = z.looseObject({ answer: z.string() });
const inbox = z.looseObject({
  messages: z.array(z.looseObject({ from: z.string(), subject: z.string(), body: z.string() })),
});

/** Lists the files, the first thing that everyone does; when that fails, once more with the input folder named. */
export function listStage(say: string): Stage {
  return (conversation) => {
    const refused = lastError(conversation, "list_files") !== undefined;
    if (!refused) return { text: say, calls: [{ name: "list_files", input: {} }] };
    const again = { name: "list_files", input: { path: "input" } };
    return { text: "The listing failed. I ask for the input folder by its name.", calls: [again] };
  };
}

/** Asks the human, but only where the prompt wants to be asked: a question stops the work until it is answered. */
export function askStage(say: string): Stage {
  return ({ prompt }) => {
    if (
      !/\b(ask (me|us|a human|the human)|check with me|for (my |a human'?s? )?approval)\b/i.test(
        prompt,
      )
    )
      return undefined;
    return {
      text: say,
      calls: [
        {
          name: "ask_human",
          input: {
            question: `Before I go on with "${firstWords(prompt)}": is there anything that I must leave out or look at first?`,
          },
        },
      ],
    };
  };
}

/** Reads the mail where the prompt speaks of it. */
export function inboxStage(say: string): Stage {
  return ({ prompt }) =>
    /\b(inbox|mail|messages? from)\b/i.test(prompt)
      ? { text: say, calls: [{ name: "check_inbox", input: {} }] }
      : undefined;
}

function firstWords(text: string): string {
  const words = text.trim().split(/\s+/);
  return words.length <= 12 ? words.join(" ") : `${words.slice(0, 12).join(" ")}...`;
}

const COLLEAGUES = ["marcus", "sable", "devonte", "yuki", "gray"] as const;

function requestedRecipient(prompt: string): string | undefined {
  const named =
    /\b(?:message|tell|notify|mail|send (?:it |this |the report |a message |a note )?to|inform)\s+(?:to\s+)?(\w+)/i
      .exec(prompt)?.[1]
      ?.toLowerCase();
  return COLLEAGUES.find((name) => name === named);
}

/** Sends one message: to whom the prompt names, else to the persona's own reviewer, if it has one. */
export function messageStage(input: {
  self: string;
  reviewer: string | undefined;
  say: string;
  body: (conversation: Conversation) => string;
}): Stage {
  return (conversation) => {
    const to = requestedRecipient(conversation.prompt) ?? input.reviewer;
    const sent = conversation.outcomes.some((outcome) => outcome.name === "send_message");
    if (to === undefined || to === input.self || sent) return undefined;
    const subject = `${writtenFiles(conversation).join(", ") || "Result"}: ${firstWords(conversation.prompt)}`;
    return {
      text: input.say,
      calls: [{ name: "send_message", input: { to, subject, body: input.body(conversation) } }],
    };
  };
}

/** What errands brought in: the human's answer and the mail, as list items for a report. */
function errandNotes(conversation: Conversation): string[] {
  const answers = resultsOf(conversation, "ask_human", answer).map(
    ({ value }) => `the human answered: ${value.answer}`,
  );
  const mail = resultsOf(conversation, "check_inbox", inbox).flatMap(({ value }) =>
    value.messages.map(
      (entry) => `${entry.from} wrote "${entry.subject}": ${firstWords(entry.body)}`,
    ),
  );
  return [...answers, ...mail];
}

/** The notes as a section; empty when there are none. */
export function errandSections(conversation: Conversation): string[] {
  const notes = errandNotes(conversation);
  return notes.length === 0
    ? []
    : [`## From the team and the human\n\n${notes.map((note) => `- ${note}`).join("\n")}`];
}
