import { isDeepStrictEqual } from "node:util";
import type pg from "pg";
import type { Db } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import type { Command } from "./command-fixture.ts";
import { createDatabaseWorld, type DatabaseWorld, LOST, pictureOf } from "./database-fixture.ts";
import type { State } from "./kernel-state.ts";
import { decide, type Operation, stateOf } from "./operation-fixture.ts";
import { checkQuiet } from "./play-fixture.ts";
import { createChecker, must } from "./property-fixture.ts";
import { createStage, type Stage } from "./stage-fixture.ts";

// The pure kernel is the oracle: what happens at once in the database has the answers, and leaves the balances, of some
// order in which the kernel does the same one by one.

type Answered = { operation: Operation; answer: unknown };

/** These are done by whoever is alone with the database: they change its clock, or many rows one by one. */
const alone = new Set<Operation["type"]>(["time", "run", "reap", "top_limit"]);

/** The states that the kernel comes to by every order in which it gives these answers. */
function* ordersOf(state: State, asked: readonly Answered[]): Generator<State> {
  if (asked.length === 0) yield state;
  for (const [index, { operation, answer }] of asked.entries()) {
    const others = asked.toSpliced(index, 1);
    const decided = decide(state, operation);
    if (answer === LOST) yield* ordersOf(state, others);
    if (answer === LOST || isDeepStrictEqual(answer, decided.outcome))
      yield* ordersOf(decided.state, others);
  }
}

type Play = { at: DatabaseWorld; stage: Stage; state: State };

/** Everything that both sides hold, compared. */
async function compare(play: Play, asked: readonly Answered[]): Promise<void> {
  const stored = JSON.stringify(await play.at.picture());
  let like: State | undefined;
  for (const state of ordersOf(play.state, asked)) {
    like = state;
    if (JSON.stringify(pictureOf(state)) !== stored) continue;
    play.state = state;
    return;
  }
  must(like !== undefined, "the kernel gives these answers in no order", () =>
    asked.map(({ operation, answer }) => [
      operation,
      answer === LOST ? "lost" : answer,
      decide(play.state, operation).outcome,
    ]),
  );
  const wanted = JSON.stringify(pictureOf(like!));
  let from = 0;
  while (from < stored.length && stored[from] === wanted[from]) from++;
  const part = (text: string) => text.slice(Math.max(0, from - 200), from + 200);
  must(false, "the database and the kernel hold the same", () => [part(stored), part(wanted)]);
}

/** Asks both sides for one thing, again if the answer was lost. */
async function again(play: Play, operation: Operation): Promise<void> {
  let answer = await play.at.perform(operation);
  while (answer === LOST) answer = await play.at.perform(operation);
  const decided = decide(play.state, operation);
  must(isDeepStrictEqual(answer, decided.outcome), "the kernel gives the same answer", () => [
    operation,
    answer,
    decided.outcome,
  ]);
  play.state = decided.state;
}

/** What gateways do whose answers were lost: they end what they never sent, and repeat what they have settled. */
async function recover(play: Play, lost: readonly Operation[]): Promise<void> {
  await play.at.endUnresolved();
  for (const operation of lost) {
    play.stage.lost(operation);
    if (operation.type === "settle") await again(play, operation);
    const unsent =
      operation.type === "reserve" || (operation.type === "dispatch" && !operation.foreign);
    if (!unsent) continue;
    const { workspaceId, holdId } = operation.ask;
    for (const end of [{ outcome: "void" }, { outcome: "settled", actualNanoUsd: 0 }] as const)
      play.state = decide(play.state, {
        type: "settle",
        ask: { workspaceId, holdId, ...end },
      }).state;
  }
}

async function perform(
  play: Play,
  operations: readonly Operation[],
  breaks: boolean,
): Promise<void> {
  if (operations.length === 0) return;
  const answers = operations.map((operation) => play.at.perform(operation));
  if (breaks) await play.at.breakConnection();
  const asked: Answered[] = [];
  for (const [index, answer] of (await Promise.all(answers)).entries())
    asked.push({ operation: operations[index]!, answer });
  const lost = asked.filter(({ answer }) => answer === LOST);
  if (asked.length > 1 || lost.length > 0) await compare(play, asked);
  else {
    const [{ operation, answer }] = asked as [Answered];
    const { state, outcome } = decide(play.state, operation);
    must(isDeepStrictEqual(answer, outcome), "the kernel gives the same answer", () => [
      operation,
      answer,
      outcome,
    ]);
    play.state = state;
  }
  for (const { operation, answer } of asked)
    if (answer !== LOST) play.stage.answered(operation, answer);
  if (lost.length > 0)
    await recover(
      play,
      lost.map(({ operation }) => operation),
    );
}

/** Plays the rounds over a real database and the kernel. The commands of a round happen at once. */
export async function playOnPostgres(
  deps: { db: Db; admin: pg.Client },
  rounds: readonly (readonly Command[])[],
): Promise<void> {
  const skewOf = (processId: string): number => play.stage.skewOf(processId);
  const at = await createDatabaseWorld({ ...deps, skewOf });
  const stage = createStage(at.world, () => newId("hold"));
  const play: Play = { at, stage, state: stateOf(at.world) };
  for (const round of rounds) {
    const operations: Operation[] = [];
    for (const command of round) {
      const operation = stage.perform(command, play.state);
      if (operation) operations.push(operation);
    }
    const breaks = round.some((command) => command.type === "broken_connection");
    if (breaks && operations.length === 0) await at.breakConnection();
    await perform(
      play,
      operations.filter(({ type }) => !alone.has(type)),
      breaks,
    );
    for (const operation of operations)
      if (alone.has(operation.type)) await perform(play, [operation], false);
  }
  await compare(play, []);
  createChecker(play.state).truth(stage);
  checkQuiet(play.state);
}
