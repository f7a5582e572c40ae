import { z } from "zod";
import { byteLength, cutToBytes, fitItems, maxResultBytes } from "../result-text.ts";
import { defineTool, type ToolOutcome } from "../tools.ts";
import type { Delegation } from "./team-port.ts";
import { agentName, teamOf } from "./team-of.ts";

const NANO_PER_USD = 1_000_000_000;
const AMOUNT = /^\$?(\d{1,4})(?:\.(\d{1,9}))?$/;

/** Dollars as text to nano-USD without a float on the way. */
function toNanoUsd(amount: string): number {
  const [, whole = "0", fraction = ""] = AMOUNT.exec(amount) ?? [];
  return Number(whole) * NANO_PER_USD + Number(fraction.padEnd(9, "0"));
}

/** The result's words take at most half of what one tool result may have; the rest is for the paths. */
const MAX_WORDS_BYTES = maxResultBytes / 2;
const CUT_NOTE = "\n[cut here: the whole text stands in the delegated task]";

/** The longest start of a text whose JSON fits. Escapes make JSON longer than its text by up to six times. */
function fitWords(text: string): string {
  if (byteLength(JSON.stringify(text)) <= MAX_WORDS_BYTES) return text;
  let maxBytes = MAX_WORDS_BYTES - byteLength(CUT_NOTE) - 2;
  let kept = cutToBytes(text, maxBytes);
  while (byteLength(JSON.stringify(kept + CUT_NOTE)) > MAX_WORDS_BYTES) {
    maxBytes = Math.floor(maxBytes * 0.8);
    kept = cutToBytes(text, maxBytes);
  }
  return kept + CUT_NOTE;
}

function report(ended: Extract<Delegation, { status: "ended" }>): ToolOutcome {
  const { taskId, agentId, state, cause, result, files, leftOut } = ended;
  const content = {
    task_id: taskId,
    state,
    ...(cause === null ? {} : { cause }),
    result: result === null ? null : fitWords(result),
    artifacts: fitItems(files, maxResultBytes / 2 + 4096),
    ...(leftOut.length === 0 ? {} : { artifacts_without_room: leftOut.length }),
  };
  const wrote = files.length === 1 ? "1 file" : `${files.length} files`;
  const why = cause === null ? "" : ` (${cause})`;
  return {
    isError: false,
    content: JSON.stringify(content),
    summary: `The task of ${agentId} ${state === "cancelled" ? "was" : "has"} ${state}${why}, ${wrote} came back`,
  };
}

export const delegateTask = defineTool({
  name: "delegate_task",
  description:
    "Gives a task to another agent and waits until it has ended. The agent sees your prompt and the same input files, " +
    "nothing else of this conversation, so say everything that it must know, and name the file that you want. " +
    'Returns {"task_id","state":"succeeded"|"failed"|"cancelled","result","artifacts":[path]}: "result" are its last words, ' +
    'the files that it wrote are copied to "from-<agent>/" in your folder, where you can read them. ' +
    "What it spends counts against your own budget.",
  input: z.strictObject({
    agent: z.string().trim().toLowerCase().min(1).max(64).describe(agentName),
    prompt: z.string().trim().min(1).max(20_000).describe("The whole assignment."),
    cost_limit_usd: z
      .string()
      .trim()
      .regex(AMOUNT)
      .refine((amount) => toNanoUsd(amount) > 0, "must be more than 0")
      .optional()
      .describe(
        'The most that it may spend, US dollars as text, for example "0.20". Left out: all that you have left.',
      ),
  }),
  effect: "idempotent",
  permission: "team",
  costRule: "free",
  async run({ agent, prompt, cost_limit_usd: limit }, ctx) {
    const delegation = await teamOf(ctx).delegate({
      idempotencyKey: ctx.idempotencyKey,
      agent,
      prompt,
      ...(limit === undefined ? {} : { costLimitNanoUsd: toNanoUsd(limit) }),
    });
    if (delegation.status === "ended") return report(delegation);
    return { status: "park", reason: { kind: "child", child_task_id: delegation.taskId } };
  },
});
