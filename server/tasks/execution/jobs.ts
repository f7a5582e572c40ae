import { setTimeout as delay } from "node:timers/promises";
import { modelPrices } from "../../gateway/request/prices.ts";
import type { Db } from "../../platform/db.ts";
import type { JobFailures } from "../../platform/job-failures.ts";
import { untilFewer } from "../../platform/until-fewer.ts";
import { openQueues, retryRule } from "./run-claims.ts";

export type RunJobsConfig = {
  /** How long after its end a lease is taken back: by then its holder has stopped by its own, earlier deadline. */
  graceMs: number;
  /** How often each job runs when nothing rings. */
  intervalMs: number;
  /** The first pause between two attempts, which doubles; `retryRule.backoffMs` when absent. */
  retryBackoffMs?: number;
};

export type RunJobs = {
  start(): void;
  /** A slot is free, a limit was raised or money came back: look now. */
  wake(): void;
  close(): Promise<void>;
};

const pricedModels = modelPrices.map((price) => price.id);

async function count(db: Db, text: string, values: readonly unknown[] = []): Promise<number> {
  const [row] = await db.ledger<{ n: number }>({ text, values });
  return row?.n ?? 0;
}

/** Takes back leases that ran out. -> how many runs are claimable again or have failed */
export function reapRuns(
  db: Db,
  graceMs: number,
  backoffMs: number = retryRule.backoffMs,
): Promise<number> {
  return count(
    db,
    `SELECT requeued + exhausted AS n FROM reap_runs($1 * interval '1 millisecond', $2, $3 * interval '1 millisecond')`,
    [graceMs, retryRule.attemptsAllowed, backoffMs],
  );
}

/** Gives back agent time of cancelled attempts whose workers have not done so, for they are dead. -> of how many */
export function returnCancelledTime(db: Db): Promise<number> {
  return count(db, "SELECT return_cancelled_time() AS n");
}

/** Wakes parked runs whose time has come. -> how many */
export function wakeDueRuns(db: Db): Promise<number> {
  return count(db, "SELECT wake_due_runs() AS n");
}

/** Wakes runs whose limit now leaves what they need, and those of workspaces that are stopped no more. -> how many */
export function wakeLimitedRuns(db: Db): Promise<number> {
  return count(db, "SELECT wake_limited_runs() AS n");
}

/** How long a run whose model had no price rests, when the model is still the same. */
const UNPRICED_REST_MS = 60_000;

/** Wakes runs whose agent's model has a price now. -> how many */
export function wakeUnpricedRuns(db: Db, priced: readonly string[]): Promise<number> {
  return count(db, "SELECT wake_unpriced_runs($1, $2 * interval '1 millisecond') AS n", [
    priced,
    UNPRICED_REST_MS,
  ]);
}

/** Rounds in a row, each with workspaces of its own; what is left then has the next turn. */
const OPENING_ROUNDS = 50;

async function openAllQueues(db: Db): Promise<number> {
  let all = 0;
  for (let round = 0; round < OPENING_ROUNDS; round++) {
    const { opened, mayBeMore } = await openQueues(db);
    all += opened;
    if (!mayBeMore) break;
  }
  return all;
}

/**
 * What one statement takes at most (see 0006 and 0014), and statements in a row, so that a thousand runs that stopped
 * together do not wait for each other's polls.
 */
const IN_ONE_LOOK = { atMost: 200, times: 20 };

/**
 * What keeps runs moving that no worker holds. Safe to run in any number of processes: each job skips what another
 * one is at. `onReady` is called when there may be work for a worker.
 */
export function createRunJobs(deps: {
  db: Db;
  config: RunJobsConfig;
  onReady(): void;
  failures: JobFailures;
}): RunJobs {
  const { db, config, failures } = deps;
  const jobs: Record<string, () => Promise<number>> = {
    reap_runs: () =>
      untilFewer(IN_ONE_LOOK, () => reapRuns(db, config.graceMs, config.retryBackoffMs)),
    // Before the runs that wait for agent time are looked at.
    return_cancelled_time: () => untilFewer(IN_ONE_LOOK, () => returnCancelledTime(db)),
    wake_due_runs: () => untilFewer(IN_ONE_LOOK, () => wakeDueRuns(db)),
    wake_limited_runs: () => wakeLimitedRuns(db),
    wake_unpriced_runs: () => wakeUnpricedRuns(db, pricedModels),
    open_queues: () => openAllQueues(db),
  };
  const watched = Object.entries(jobs).map(([job, run]) => ({ run, attempt: failures.watch(job) }));
  const closed = new AbortController();
  let pause = new AbortController();
  let rounds: Promise<void> = Promise.resolve();

  async function once(): Promise<void> {
    let changed = 0;
    // A job that fails does not keep the others from running.
    for (const { run, attempt } of watched) changed += (await attempt(run)) ?? 0;
    if (changed > 0) deps.onReady();
  }

  async function loop(): Promise<void> {
    while (!closed.signal.aborted) {
      // Taken before the round, so that a ring during it is not overlooked.
      const rung = AbortSignal.any([closed.signal, pause.signal]);
      await once();
      await delay(config.intervalMs, undefined, { signal: rung }).catch(() => undefined);
    }
  }

  return {
    start() {
      rounds = loop();
    },
    wake() {
      pause.abort();
      pause = new AbortController();
    },
    async close() {
      closed.abort();
      await rounds;
    },
  };
}
