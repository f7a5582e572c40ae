import type { RunSpender, Spender } from "../ledger/calls.ts";
import type { Client } from "./client.ts";
import type { MessagesRequest } from "./request/request.ts";

export type MessagesCall = {
  spender: Spender;
  request: MessagesRequest;
  client: Client;
  requestId: string;
  /** The client says that it repeats a call; the first try may have been at another gateway. */
  retried: boolean;
};

/** Answers are kept for runs alone, which repeat their calls when a worker has died. */
export type RunCall = MessagesCall & { spender: RunSpender };

/** A stored answer that was given out. */
export type Taken = { holdId: string; body: Buffer };
