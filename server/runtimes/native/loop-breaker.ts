import { isDeepStrictEqual } from "node:util";
import { idsIn } from "../../platform/ids.ts";
import type { Step, ToolStep, ToolUse } from "../step.ts";

/** So many whole rounds without news are answered once without being run; the next round ends the run. */
const ROUNDS = 3;
/** The longest round that is looked for, in calls. Agents that are stuck go from one to the other between very few. */
const LONGEST_ROUND = 4;

/** A call that would go once more through what was just done several times. */
export type Repetition = {
  /** The names of the calls that make one round, the repeated one first. */
  round: readonly string[];
  rounds: number;
  /** True when the agent was told before and has answered since. */
  wasTold: boolean;
};

const isSameCall = (a: Pick<ToolUse, "name" | "input">, b: Pick<ToolUse, "name" | "input">) =>
  a.name === b.name && isDeepStrictEqual(a.input, b.input);

/** What came of a call, without what is new each time: sending the same words again gives a message with another id. */
function newsOf({ state, body }: ToolStep): unknown {
  return [state, body.is_error === true, (body.content ?? "").replaceAll(idsIn, "")];
}

/** The same call with the same outcome. A call that was not run has none, and is no news. */
function isRepeated(earlier: ToolStep, later: ToolStep): boolean {
  if (!isSameCall(earlier.body, later.body)) return false;
  if (earlier.body.refused === true || later.body.refused === true) return true;
  return isDeepStrictEqual(newsOf(earlier), newsOf(later));
}

/** How many times in a row the last `length` calls were made without news. */
function roundsOf(calls: readonly ToolStep[], length: number): number {
  let at = calls.length - 1;
  for (; at >= length; at--) {
    const [earlier, later] = [calls[at - length], calls[at]];
    if (earlier === undefined || later === undefined || !isRepeated(earlier, later)) break;
  }
  return Math.floor((calls.length - 1 - at + length) / length);
}

/**
 * Whether `use`, the next call, continues a repetition: the same call, or the same short round of calls, with the same
 * outcomes. What comes out differently is progress, for example an inbox that is asked again and again. Decided by the
 * stored steps alone, like all that a run does next.
 */
export function findRepetition(steps: readonly Step[], use: ToolUse): Repetition | undefined {
  const calls = steps.filter((step) => step.kind === "tool");
  const answer = steps.findLast((step) => step.kind === "model");
  const told = calls.filter(
    ({ body, stepNo }) => body.refused === true && stepNo < (answer?.stepNo ?? 0),
  );
  for (let length = 1; length <= LONGEST_ROUND; length++) {
    const round = calls.slice(-length);
    if (round[0] === undefined || !isSameCall(round[0].body, use)) continue;
    const rounds = roundsOf(calls, length);
    if (rounds < ROUNDS) continue;
    return {
      round: round.map(({ body }) => body.name),
      rounds,
      wasTold: round.some(({ body }) => told.some((step) => isSameCall(step.body, body))),
    };
  }
  return undefined;
}

/** What the agent reads in place of a result. */
export function repetitionTold({ round, rounds }: Repetition): string {
  const [name = ""] = round;
  const what =
    round.length === 1
      ? `You have called ${name} with exactly this input ${rounds} times in a row, with the same outcome each time`
      : `You have made the same ${round.length} calls (${round.join(", ")}) ${rounds} times in a row, with the same outcomes each time`;
  return `${what}, so ${name} was not run again. The results are above. Do something else, or end with what you have; going on like this ends the task.`;
}

/** Why the run ends, for people. */
export function repetitionMessage({ round }: Repetition): string {
  return `The agent repeated ${[...new Set(round)].join(", ")} with the same input and the same outcome again and again, although it was told so.`;
}
