import { setTimeout as delay } from "node:timers/promises";
import { type CallEnd, callModel } from "./model-call.ts";
import type { Random } from "./random.ts";

/** What all agents of the demonstration look at. */
export type Board = {
  urls(): readonly string[];
  /** True while gateways are killed and agents hang up. */
  storm: boolean;
  /** Counts the times that a provisional charge was lowered: money that was refused before may be there again. */
  returns: number;
  /** True when nothing more will return. */
  over: boolean;
};

export type Agents = {
  /** How often each end came. */
  ends: Readonly<Record<CallEnd, number>>;
  /** Agents that have been told twice in a row, since money last returned, that there is none. */
  resting(): number;
  /** Resolves when all have stopped asking. */
  ended: Promise<unknown>;
};

/** Share of calls whose agent hangs up before the answer is complete. */
const ABORTED = 0.2;
const ABORT_WITHIN_MS = 600;
/** Share of calls to the dearer model. */
const DEARER = 0.3;
const MAX_WORDS = 400;
/** Output that agents ask for, tokens. */
export const MAX_TOKENS = { least: 16, most: 4_000 } as const;
const WORDS = "limit budget ledger agent hold spend cent dollar gateway stream model charge".split(
  " ",
);
/** How long an agent does something else after it was refused, or had no answer. */
const PAUSE_MS = 300;

function randomBody(random: Random): object {
  const words = Array.from(
    { length: random.between(1, MAX_WORDS) },
    () => WORDS[random.between(0, WORDS.length - 1)],
  );
  return {
    model: random.chance(DEARER) ? "claude-sonnet-5-5" : "claude-haiku-5-5",
    max_tokens: random.between(MAX_TOKENS.least, MAX_TOKENS.most),
    stream: random.chance(0.9),
    messages: [{ role: "user", content: `${random.between(1, 1_000_000)} ${words.join(" ")}` }],
  };
}

/** Sets one agent to work per token; each asks again and again, one call at a time. */
export function startAgents(options: {
  tokens: readonly string[];
  board: Board;
  random: Random;
}): Agents {
  const { board, random } = options;
  const ends: Record<CallEnd, number> = {
    answered: 0,
    aborted: 0,
    broken: 0,
    budget_exhausted: 0,
    budget_reserved: 0,
    refused: 0,
  };
  let resting = 0;

  async function rest(returns: number): Promise<void> {
    resting += 1;
    while (!board.over && board.returns === returns) await delay(50);
    resting -= 1;
  }

  async function callOnce(token: string): Promise<CallEnd> {
    const urls = board.urls();
    const url = urls[random.between(0, urls.length - 1)];
    if (url === undefined) return "broken";
    const abortAfterMs =
      board.storm && random.chance(ABORTED) ? random.between(0, ABORT_WITHIN_MS) : undefined;
    const end = await callModel({ url, token, body: randomBody(random), abortAfterMs });
    ends[end] += 1;
    return end;
  }

  async function work(token: string): Promise<void> {
    let refusals = 0;
    let { returns } = board;
    while (!board.over) {
      if (returns !== board.returns || board.storm) refusals = 0;
      ({ returns } = board);
      const end = await callOnce(token);
      if (end === "answered") refusals = 0;
      if (end === "budget_exhausted" || end === "budget_reserved") refusals += 1;
      if (refusals >= 2 && !board.storm) await rest(returns);
      else if (end !== "answered" && end !== "aborted") await delay(random.between(1, PAUSE_MS));
    }
  }

  return { ends, resting: () => resting, ended: Promise.all(options.tokens.map(work)) };
}
