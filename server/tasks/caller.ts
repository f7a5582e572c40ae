/** On whose behalf something is done: the workspace it may touch, and what the audit writes down. */
export type Caller = {
  workspaceId: string;
  /** `user:usr_…` or `key:key_…`. */
  actor: string;
  /** Address that the request came from. */
  origin: string;
};
