import type { WorkspaceEvent } from "./alert.ts";
import type { Event } from "./event.ts";
import type { Task } from "./task.ts";

/**
 * Socket.io messages. The handshake carries `auth: {access_token}`; the server puts the socket into its rooms by the
 * token, a client never names one. Sockets are a hint: what they miss is read again over HTTP by `after=`.
 */
export type ServerToClient = {
  /** New events of one task of the workspace, dense from `after` + 1. */
  events: (batch: { stream_id: string; after: number; events: Event[] }) => void;
  /** A task's row changed (state, cost); for lists. */
  task: (task: Task) => void;
  /** Something happened to the workspace itself: an alert, a suspension. */
  workspace: (event: WorkspaceEvent) => void;
  /** The session ends in a moment: authenticate again with a fresh token. */
  expiring: (notice: { in_ms: number }) => void;
};
export type ClientToServer = {
  /** A fresh access token for the same workspace, before the old one ends. */
  authenticate: (
    message: { access_token: string },
    answer: (result: { ok: boolean }) => void,
  ) => void;
  /**
   * Follow one task's events from a cursor: the answer is what is already there, up to `last_seq`; of a long tail only
   * the beginning, and the rest is read over HTTP.
   */
  follow: (
    message: { task_id: string; after: number },
    answer: (
      result: { ok: true; events: Event[]; last_seq: number } | { ok: false; code: string },
    ) => void,
  ) => void;
  unfollow: (message: { task_id: string }) => void;
};
