import { AppError } from "../platform/errors.ts";

/** Why a message was not sent. Read by the agent that wanted to send it. */
export function unknownRecipient(to: string, known: readonly string[]): AppError {
  return new AppError({
    code: "recipient_unknown",
    status: 422,
    publicMessage: `There is no agent ${JSON.stringify(to)}.`,
    hint: `The agents are: ${known.join(", ")}.`,
  });
}

export function messageToSelf(): AppError {
  return new AppError({
    code: "message_to_self",
    status: 422,
    publicMessage: "This would be a message to yourself.",
    hint: "Write what you want to keep into a file.",
  });
}

export function tooManyMessages(between: { from: string; to: string; atMost: number }): AppError {
  return new AppError({
    code: "too_many_messages",
    status: 409,
    publicMessage: `${between.from} and ${between.to} have exchanged ${between.atMost} messages in this task, which is the limit.`,
    hint: "Go on with what you know, and say in your result what is still open.",
  });
}

export function tooManyHops(atMost: number): AppError {
  return new AppError({
    code: "too_many_hops",
    status: 409,
    publicMessage: `This answers a message that came out of ${atMost} earlier ones. A chain of messages ends there, so that agents do not talk in circles.`,
    hint: "Decide with what you know, and say in your result what is still open.",
  });
}
