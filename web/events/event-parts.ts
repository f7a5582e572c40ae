import type { Event, EventBody, EventType } from "@guildhall/sdk/contract/event.ts";

export type { Event, EventType };

/** The `data` of one event type. */
export type DataOf<T extends EventType> = Extract<EventBody, { type: T }>["data"];
export type TokenUsage = DataOf<"model.completed">["usage"];
export type ToolInput = DataOf<"tool.started">["input"];

/** When and as which event something happened; keys of transcript entries come from `seq`. */
export type Stamp = { seq: number; at: string };
