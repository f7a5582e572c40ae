import { type Event, type eventListSchema, streamEndSchema } from "../contract/event.ts";
import type { z } from "zod";
import { ConnectionError, GuildhallError } from "./errors.ts";
import { type Http, pause } from "./http.ts";
import { readServerSentEvents } from "./server-sent-events.ts";

export type FollowOptions = {
  http: Http;
  taskId: string;
  /** Events after this `seq`. */
  after: number;
  signal?: AbortSignal;
  /** How to wait; tests look at what is asked for. */
  wait?: (ms: number) => Promise<void>;
};

/** A server shows every 5 s that it lives; a stream that is silent for longer, or does not begin, does not come through. */
const SILENCE_MS = 20_000;
/** Streams in a row that brought nothing: something between here and the server does not let them through. */
const MOST_BARREN = 3;
/** What a stream without events must have shown to count as one that comes through: some minute of comments. */
const ENOUGH_FRAMES = 12;
/** Tries in a row while the server cannot be reached: a restart takes some seconds. */
const MOST_AWAY = 4;
const SHORTEST_POLL_MS = 2_000;
const LONGEST_POLL_MS = 60_000;
const POLL_WAITS_MS = 20_000;
const PASSING_STATUS = new Set([429, 502, 503, 504]);

/** Where the reader stands. `ended`: the task takes no more events, and all of them were told. */
type Progress = { after: number; ended: boolean; barren: number; polls: boolean };

/**
 * How long to leave between two requests so that an hour's quota lasts an hour, milliseconds: once half of it is used,
 * and until more comes when nothing is left. Reads the fields `RateLimit-Policy` and `RateLimit`.
 */
export function paceMs(headers: Headers): number {
  const itemsOf = (name: string): Map<string, Map<string, number>> =>
    new Map(
      (headers.get(name) ?? "").split(",").map((item) => {
        const [policy = "", ...parameters] = item.trim().split(";");
        const pairs = parameters.map((text) => text.split("="));
        return [policy, new Map(pairs.map(([key = "", value]) => [key, Number(value)]))];
      }),
    );
  const policies = itemsOf("ratelimit-policy");
  const paces = [...itemsOf("ratelimit")].map(([policy, state]) => {
    const quota = policies.get(policy)?.get("q") ?? 0;
    const windowMs = (policies.get(policy)?.get("w") ?? 0) * 1_000;
    const remaining = state.get("r") ?? quota;
    if (remaining === 0) return (state.get("t") ?? 0) * 1_000;
    return remaining * 2 < quota ? windowMs / quota : 0;
  });
  return Math.max(0, ...paces.filter(Number.isFinite));
}

/** What is passing: how long to wait before another try. Everything else is thrown. */
function patienceMs(error: unknown, failures: number): number {
  const backoffMs = 500 * 2 ** failures;
  if (error instanceof ConnectionError && failures < MOST_AWAY) return backoffMs;
  if (error instanceof GuildhallError && PASSING_STATUS.has(error.status))
    return error.retryAfterMs ?? Math.min(LONGEST_POLL_MS, backoffMs);
  throw error;
}

/** Aborts what was begun when nothing is heard for too long. */
function createWatchdog(signal: AbortSignal | undefined) {
  const silence = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    signal: AbortSignal.any([silence.signal, ...(signal ? [signal] : [])]),
    heard(): void {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    },
    stop: (): void => clearTimeout(timer),
  };
}

async function* readStream(options: FollowOptions, progress: Progress) {
  const { http, taskId, signal } = options;
  const watchdog = createWatchdog(signal);
  const before = progress.after;
  let frames = 0;
  try {
    watchdog.heard();
    const response = await http.send("GET", `${eventsOf(taskId)}/stream`, {
      query: { after: progress.after },
      headers: { accept: "text/event-stream" },
      signal: watchdog.signal,
      repeatable: false,
    });
    if (!response.body || !response.headers.get("content-type")?.includes("text/event-stream")) {
      await response.body?.cancel();
      progress.polls = true;
      return;
    }
    for await (const { event, data } of readServerSentEvents(response.body)) {
      watchdog.heard();
      frames++;
      if (event === "end") {
        progress.ended = streamEndSchema.parse(JSON.parse(data)).last_seq <= progress.after;
        return;
      }
      if (event !== "task_event") continue;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the contract's, which the server is tested against
      const told = JSON.parse(data) as Event;
      if (told.seq <= progress.after) continue;
      progress.after = told.seq;
      yield told;
    }
  } catch (error) {
    if (signal?.aborted || error instanceof GuildhallError || error instanceof ConnectionError)
      throw error;
    // Everything else is a stream that broke off or fell silent: another one goes on.
  } finally {
    watchdog.stop();
  }
  const cameThrough = progress.after > before || frames >= ENOUGH_FRAMES;
  progress.barren = cameThrough ? 0 : progress.barren + 1;
}

const eventsOf = (taskId: string): string => `/v1/tasks/${encodeURIComponent(taskId)}/events`;

/** One page. -> whether it had events, and how long to wait at least by the server's fields */
async function* readPage(
  options: FollowOptions,
  progress: Progress,
): AsyncGenerator<Event, { brought: boolean; leastMs: number }, undefined> {
  const { http, taskId, signal } = options;
  const response = await http.send("GET", eventsOf(taskId), {
    query: { after: progress.after, wait_ms: POLL_WAITS_MS },
    ...(signal ? { signal } : {}),
    repeatable: false,
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the contract's, which the server is tested against
  const page = (await response.json()) as z.infer<typeof eventListSchema>;
  yield* page.data;
  progress.after = page.data.at(-1)?.seq ?? progress.after;
  progress.ended = page.closed && progress.after >= page.last_seq;
  return { brought: page.data.length > 0, leastMs: paceMs(response.headers) };
}

/**
 * All events of a task after a cursor, live, until it takes no more. One long answer; where something between does not
 * let that through, single pages, ever more slowly and never faster than the server's fields ask for. Waits out what
 * passes (429, 502, 503, 504). Throws `GuildhallError` and `ConnectionError` otherwise.
 */
export async function* followEvents(
  options: FollowOptions,
): AsyncGenerator<Event, void, undefined> {
  const wait = options.wait ?? ((ms: number) => pause(ms, options.signal));
  const progress: Progress = { after: options.after, ended: false, barren: 0, polls: false };
  let pollMs = SHORTEST_POLL_MS;
  for (let failures = 0; !progress.ended;) {
    progress.polls ||= progress.barren >= MOST_BARREN;
    try {
      if (progress.polls) {
        const { brought, leastMs } = yield* readPage(options, progress);
        pollMs = brought ? SHORTEST_POLL_MS : Math.min(LONGEST_POLL_MS, pollMs * 2);
        if (!progress.ended) await wait(Math.max(pollMs, leastMs));
      } else {
        yield* readStream(options, progress);
        if (!progress.ended && !progress.polls) await wait(500 * 2 ** progress.barren);
      }
      failures = 0;
    } catch (error) {
      await wait(patienceMs(error, failures++));
    }
  }
}
