/** The laws that can be checked in the database. */
export type Law = "I1" | "I2" | "I3" | "I4" | "I5" | "I6" | "I8" | "I10";

/** One way in which a law can be broken, as SQL over all workspaces. */
export type Rule = {
  law: Law;
  /** What holds, as a sentence. */
  name: string;
  /** Answers one number: how many things the rule speaks about. */
  counts: string;
  /** Answers a row with ids for each violation. */
  finds: string;
  /** It compares with rows of any age, which the continuous check does not read. */
  wholeHistory?: true;
};

/** The states in which nothing more happens to a task. */
export const ENDED = `('succeeded', 'failed', 'cancelled')`;
