import type { Event } from "@guildhall/sdk/contract/event.ts";
import { AppError } from "../platform/errors.ts";
import type { EventPage, Tasks } from "./tasks.ts";

/** One reader that stays: who it is, what it follows and from where. */
export type FollowRequest = {
  workspaceId: string;
  /** Whose open streams are counted together. */
  actor: string;
  id: string;
  /** Cursor: the events after this `seq`. */
  after: number;
  /** Aborts when the reader has gone or the server is about to close. */
  signal: AbortSignal;
  /** Throws once the reader's credential has ended. */
  checkAccess(): Promise<void>;
};

/** As many as one socket may follow; each looks into the database twice a second. */
const MOST_OPEN = 50;
const PAGE = 500;
/** How often an idle stream shows that it lives, and an ended credential ends it; milliseconds. */
const IDLE_MS = 5_000;

function tooManyStreams(): AppError {
  return new AppError({
    code: "too_many_streams",
    status: 429,
    publicMessage: `This user or API key follows ${MOST_OPEN} tasks already.`,
    hint: "End a stream first, or read pages with wait_ms.",
    retryable: true,
    retryAfterMs: 10_000,
  });
}

const frameOf = (event: Event): string =>
  `id: ${event.seq}\nevent: task_event\ndata: ${JSON.stringify(event)}\n\n`;

/** Text of server-sent events for readers who follow a task in one answer. */
export function createEventStreams(tasks: Pick<Tasks, "events">): {
  /** Throws `task_not_found` (404) and `too_many_streams` (429); afterwards every interruption just ends the text. */
  open(request: FollowRequest): Promise<AsyncGenerator<string, void, undefined>>;
} {
  const openOf = new Map<string, number>();

  async function* framesOf(
    request: FollowRequest,
    first: EventPage,
  ): AsyncGenerator<string, void, undefined> {
    yield ": here\n\n";
    let { after } = request;
    for (let page = first; ; page = await read(request, { after, waitMs: IDLE_MS })) {
      yield page.data.length === 0 ? ":\n\n" : page.data.map(frameOf).join("");
      after = page.data.at(-1)?.seq ?? after;
      if (page.closed && after >= page.last_seq) {
        yield `event: end\ndata: ${JSON.stringify({ last_seq: page.last_seq })}\n\n`;
        return;
      }
      // What stands behind a refusal is told by the next request, which gets it as a problem document.
      if (request.signal.aborted || !(await mayGoOn(request))) return;
    }
  }

  /** Counts until the answer is closed, whether or not anything of it was ever read. */
  function count({ actor, signal }: FollowRequest): void {
    const open = openOf.get(actor) ?? 0;
    if (open >= MOST_OPEN) throw tooManyStreams();
    openOf.set(actor, open + 1);
    signal.addEventListener("abort", () => {
      const left = (openOf.get(actor) ?? 1) - 1;
      if (left === 0) openOf.delete(actor);
      else openOf.set(actor, left);
    });
  }

  const read = (request: FollowRequest, from: { after: number; waitMs: number }) =>
    tasks.events({
      workspaceId: request.workspaceId,
      id: request.id,
      query: { after: from.after, limit: PAGE, wait_ms: from.waitMs },
      signal: request.signal,
    });

  return {
    async open(request) {
      count(request);
      return framesOf(request, await read(request, { after: request.after, waitMs: 0 }));
    },
  };
}

async function mayGoOn(request: FollowRequest): Promise<boolean> {
  return request.checkAccess().then(
    () => true,
    () => false,
  );
}
