import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@guildhall/sdk/client/client.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { postedNanoUsd } from "../figures.ts";
import { chooseTrouble, type Scene } from "./troubles.ts";

const TASKS = 6;
const PATIENCE_MS = 180_000;

/** Takes the task on, however often that has to be tried: with one key it is one task. */
async function give(scene: Scene, token: string): Promise<Task> {
  const key = crypto.randomUUID();
  const agent = scene.random.pick(["gray", "devonte", "yuki"]);
  const apis = scene.slots.filter(({ role }) => role === "api");
  for (let tries = 0; ; tries++) {
    const url = apis[tries % apis.length]?.process().url ?? "";
    try {
      return await createClient({ baseUrl: url, token }).tasks.create(
        { agent, prompt: "Look around and write down what you see" },
        key,
      );
    } catch (error) {
      if (tries > 200) throw error;
      await delay(300);
    }
  }
}

/** Looks until it is so. Throws with what was last seen. */
async function comesTo<T>(look: () => Promise<T>, isIt: (seen: T) => boolean): Promise<T> {
  const untilMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look().catch((error: unknown) => error as T);
    if (!(seen instanceof Error) && isIt(seen)) return seen;
    if (performance.now() > untilMs)
      throw new Error(seen instanceof Error ? seen.message : JSON.stringify(seen, null, 2), {
        cause: seen,
      });
    await delay(300);
  }
}

type End = { id: string; state: string; cause: string | null; message: string | null };

function readEnds({ installation }: Scene, ids: readonly string[]): Promise<End[]> {
  return installation.db.withPlatform((tx) =>
    tx.query<End>({
      text: `SELECT t.id, t.state, t.cause, (SELECT e.data->>'message' FROM events e
            WHERE e.workspace_id = t.workspace_id AND e.stream_id = t.id AND e.type = 'task.failed') AS message
          FROM tasks t WHERE t.id = ANY ($1) ORDER BY t.id`,
      values: [ids],
    }),
  );
}

const hasEnded = ({ state }: End): boolean => ["succeeded", "failed", "cancelled"].includes(state);
/** So much trouble at once may be too much for one task, which then says so. */
const isAllowed = ({ state, cause }: End): boolean =>
  state === "succeeded" || cause === "attempts_exhausted";

/**
 * Two troubles at once under load; then every task must have come to its end, every law hold, and the ledger say what
 * the provider says. -> what was done, for the log
 */
export async function playRound(scene: Scene, token: string): Promise<string> {
  const { installation, random } = scene;
  const troubles = [chooseTrouble(scene), chooseTrouble(scene)];
  const holdMs = random.between(500, 7_000);
  const told = `${troubles.map(({ name }) => name).join("  +  ")}  for ${holdMs} ms`;
  try {
    const giving = Array.from({ length: TASKS }, () => give(scene, token));
    const ends: (() => Promise<void>)[] = [];
    for (const trouble of troubles) {
      await delay(random.between(0, 1_500));
      ends.push(await trouble.begin());
    }
    await delay(holdMs);
    for (const end of ends.toReversed()) await end();
    const ids = (await Promise.all(giving)).map(({ id }) => id);
    const tasks = await comesTo(
      () => readEnds(scene, ids),
      (seen) => seen.length === TASKS && seen.every(hasEnded),
    );
    const wrong = tasks.filter((task) => !isAllowed(task));
    if (wrong.length > 0) throw new Error(`ended otherwise: ${JSON.stringify(wrong)}`);
    await comesTo(
      () => installation.openHolds(),
      (open) => open === 0,
    );
    await comesTo(
      () => installation.brokenLaws(),
      (broken) => broken.length === 0,
    );
    await comesTo(
      async () => ({
        posted: await postedNanoUsd(installation.db),
        provider: installation.simulator.meter.report().totals.cost_nano_usd,
      }),
      (sums) => sums.posted === sums.provider,
    );
    const dead = tasks.filter(({ state }) => state === "failed").length;
    return dead === 0 ? told : `${told}: ${dead} dead`;
  } catch (error) {
    throw new Error(told, { cause: error });
  }
}
