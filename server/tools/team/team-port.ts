export type InboxMessage = { id: string; from: string; subject: string; body: string };

/** What became of a delegated task. */
export type Delegation =
  | { status: "open"; taskId: string }
  | {
      status: "ended";
      taskId: string;
      agentId: string;
      state: "succeeded" | "failed" | "cancelled";
      /** Why it failed or was cancelled. */
      cause: string | null;
      result: string | null;
      /** What it wrote, as paths in the folder of the run that delegated it. */
      files: readonly string[];
      /** What it wrote and this folder has no room for, as paths of its own folder. */
      leftOut: readonly string[];
    };

export type Asked = { status: "open"; questionId: string } | { status: "answered"; answer: string };

/**
 * What a run can do with colleagues and people. Each method has one effect per idempotency key: whoever repeats it gets
 * the first answer again, or what has become of it since. A request that the rules of the house forbid throws an
 * `AppError` whose text says why. `unread` is what is left in the inbox.
 */
export type TeamPort = {
  send(message: {
    idempotencyKey: string;
    to: string;
    subject: string;
    body: string;
  }): Promise<{ messageId: string; to: string }>;
  readInbox(idempotencyKey: string): Promise<{ messages: InboxMessage[]; unread: number }>;
  /** `costLimitNanoUsd`: at most this much of what this task has left; all of it when absent. */
  delegate(request: {
    idempotencyKey: string;
    agent: string;
    prompt: string;
    costLimitNanoUsd?: number;
  }): Promise<Delegation>;
  ask(question: { idempotencyKey: string; question: string }): Promise<Asked>;
};
