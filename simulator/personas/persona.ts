import type { Conversation } from "./conversation.ts";

export type ToolCall = { name: string; input: Record<string, unknown> };

/** One answer that uses tools: what is said, and the calls. */
export type Step = { text: string; calls: readonly ToolCall[] };

/**
 * One stage of a plan. It returns the step it wants now, or undefined when it has nothing (more) to do.
 * Calls that were made before and tools that are not offered are taken out by the caller.
 */
export type Stage = (conversation: Conversation) => Step | undefined;

/** A scripted character: stages tried in order, and the last word when none of them wants a tool. */
export type Persona = {
  name: string;
  stages: readonly Stage[];
  finish(conversation: Conversation): string;
};
