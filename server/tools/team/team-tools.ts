import type { SealedTool } from "../tools.ts";
import { askHuman } from "./ask-human.ts";
import { checkInbox } from "./check-inbox.ts";
import { delegateTask } from "./delegate-task.ts";
import { sendMessage } from "./send-message.ts";

/** The tools that reach colleagues and people; they work through `ToolContext.team`. */
export const teamTools: readonly SealedTool[] = [sendMessage, checkInbox, delegateTask, askHuman];
