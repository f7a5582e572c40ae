import type { RunFence, RunSpender, Spender } from "../ledger/calls.ts";
import type { Ledger } from "../ledger/ledger.ts";
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

/** The attempt that calls, as the ledger wants to know it. */
export function attemptOf({ spender }: RunCall): RunFence & { tokenHash: string } {
  const { workspaceId, runId, epoch, tokenHash } = spender;
  return { workspaceId, runId, epoch, tokenHash };
}

/** The journal's answer to this call, if it has one that this attempt has not taken. */
export function takeStored(
  ledger: Pick<Ledger, "takeJournal">,
  call: RunCall,
): Promise<Taken | undefined> {
  return ledger.takeJournal({ ...attemptOf(call), requestHash: call.request.requestHash });
}
