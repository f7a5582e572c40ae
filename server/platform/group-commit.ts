import { databaseAway } from "./db.ts";
import { AppError } from "./errors.ts";

/** One thing to be committed, for the account whose balances it changes. Two with one id never go together. */
export type GroupItem<Ask> = { account: string; id: string; ask: Ask };

export type GroupCommit<Ask, Answer> = {
  /** Resolves when the transaction that the item was part of is durable. */
  submit(item: GroupItem<Ask>): Promise<Answer>;
};

export type GroupCommitOptions<Ask, Answer> = {
  /** One transaction over all of them. Throws: nothing of it stands, or the connection broke and nobody knows. -> an answer each */
  commit(items: readonly GroupItem<Ask>[]): Promise<readonly Answer[]>;
  /** How many items one transaction takes at most. */
  maxItems: number;
  /** How many transactions are under way at once. */
  maxTransactions: number;
  /** Who waits for so long is refused (`database_unavailable`): behind a database that hangs the line has no other end. */
  maxWaitMs: number;
};

type Waiting<Ask, Answer> = GroupItem<Ask> & {
  sinceMs: number;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
};

/** The database refused it, so that nothing of it stands; other errors leave that open. */
function isRefused(error: unknown): boolean {
  return !(error instanceof AppError && error.retryable);
}

type Commit<Ask, Answer> = GroupCommitOptions<Ask, Answer>["commit"];

async function commitOne<Ask, Answer>(
  commit: Commit<Ask, Answer>,
  item: Waiting<Ask, Answer>,
): Promise<void> {
  try {
    const [answer] = await commit([item]);
    item.resolve(answer as Answer);
  } catch (error) {
    item.reject(error);
  }
}

async function commitGroup<Ask, Answer>(
  commit: Commit<Ask, Answer>,
  group: readonly Waiting<Ask, Answer>[],
): Promise<void> {
  try {
    const answers = await commit(group);
    for (const [index, item] of group.entries()) item.resolve(answers[index] as Answer);
  } catch (error) {
    if (group.length > 1 && isRefused(error))
      for (const item of group) await commitOne(commit, item);
    else for (const item of group) item.reject(error);
  }
}

/**
 * -> to be called for each that begins to wait. One timer for all: one each would cost more than their commit. It keeps no
 * process alive: who waits does so behind a transaction, whose connection does that.
 */
function createWatch<Ask, Answer>(
  waiting: Map<string, Waiting<Ask, Answer>[]>,
  maxWaitMs: number,
): () => void {
  let timer: NodeJS.Timeout | undefined;
  function refuseLate(): void {
    timer = undefined;
    const latestMs = performance.now() - maxWaitMs;
    for (const [account, items] of waiting) {
      const inTime = items.filter((item) => item.sinceMs > latestMs);
      if (inTime.length > 0) waiting.set(account, inTime);
      else waiting.delete(account);
      for (const item of items) if (item.sinceMs <= latestMs) item.reject(databaseAway());
    }
    if (waiting.size > 0) timer = setTimeout(refuseLate, maxWaitMs / 4).unref();
  }
  return () => {
    timer ??= setTimeout(refuseLate, maxWaitMs).unref();
  };
}

/**
 * Commits what arrives together as one transaction. An account is in one transaction at a time: a second one would only
 * wait for the first one's locks, so what arrives meanwhile goes with the next. Accounts take turns, and
 * one transaction serves many of them. A refused transaction is tried again item by item, so that one bad item fails alone.
 */
export function createGroupCommit<Ask, Answer>(
  options: GroupCommitOptions<Ask, Answer>,
): GroupCommit<Ask, Answer> {
  /** In the order in which accounts began to wait. */
  const waiting = new Map<string, Waiting<Ask, Answer>[]>();
  const busy = new Set<string>();
  const watch = createWatch(waiting, options.maxWaitMs);
  let open = 0;
  let scheduled = false;

  /** Takes what may go now; an account of which something is left stands behind all others then. */
  function takeGroup(): Waiting<Ask, Answer>[] {
    const group: Waiting<Ask, Answer>[] = [];
    const ids = new Set<string>();
    const rest: [account: string, items: Waiting<Ask, Answer>[]][] = [];
    for (const [account, items] of waiting) {
      if (group.length === options.maxItems) break;
      if (busy.has(account)) continue;
      const left: Waiting<Ask, Answer>[] = [];
      for (const item of items) {
        if (group.length === options.maxItems || ids.has(item.id)) left.push(item);
        else {
          ids.add(item.id);
          group.push(item);
        }
      }
      waiting.delete(account);
      if (left.length > 0) rest.push([account, left]);
    }
    for (const [account, items] of rest) waiting.set(account, items);
    return group;
  }

  function begin(group: Waiting<Ask, Answer>[]): void {
    const accounts = new Set(group.map((item) => item.account));
    for (const account of accounts) busy.add(account);
    open += 1;
    void commitGroup(options.commit, group).finally(() => {
      open -= 1;
      for (const account of accounts) busy.delete(account);
      pump();
    });
  }

  function pump(): void {
    while (open < options.maxTransactions) {
      const group = takeGroup();
      if (group.length === 0) return;
      begin(group);
    }
  }

  return {
    submit(item) {
      return new Promise((resolve, reject) => {
        const entry = { ...item, sinceMs: performance.now(), resolve, reject };
        watch();
        const items = waiting.get(item.account);
        if (items) items.push(entry);
        else waiting.set(item.account, [entry]);
        if (scheduled) return;
        scheduled = true;
        // After all that arrived in this turn of the event loop, so that it goes together.
        setImmediate(() => {
          scheduled = false;
          pump();
        });
      });
    },
  };
}
