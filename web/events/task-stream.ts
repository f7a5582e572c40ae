import { emptyTaskView, type TaskView } from "./task-view.ts";
import type { Event } from "./event-parts.ts";
import { reduce } from "./reducer.ts";

/** A page of the stream after `after`, in order and without a gap; fewer than there are is fine. */
export type EventPage = { events: readonly Event[]; lastSeq: number; closed: boolean };

export type TaskStream = {
  /** The fold of everything up to its `lastSeq`; a new object whenever it changed. */
  view(): TaskView;
  /** True once the server said that no event will follow. */
  closed(): boolean;
  /** True while events are known that cannot be folded in yet, since some before them are missing. */
  behind(): boolean;
  /** Takes events in any order, once or many times; what is missing is read by `readPage`. */
  receive(events: readonly Event[]): void;
  /** Reads until the view holds what the server has at this moment. Rejects when reading fails; the next call goes on. */
  fill(): Promise<void>;
  /** Called after each change of the view. Answers how to stop. */
  subscribe(listener: () => void): () => void;
};

/** Early events that are kept until the gap before them is filled; past this they are read again. */
const maxEarlyEvents = 2_000;

/**
 * Assembles a task's events to a view that equals the server's table: pushed events are only a hint, and every gap
 * in them is filled through `readPage({after})`.
 */
export function createTaskStream(deps: {
  taskId: string;
  readPage: (query: { after: number }) => Promise<EventPage>;
}): TaskStream {
  let view = emptyTaskView(deps.taskId);
  let closed = false;
  let readAgain = false;
  let filling: Promise<void> | undefined;
  const early = new Map<number, Event>();
  const listeners = new Set<() => void>();

  /** Folds what is next and keeps what came too early. True when something is missing in between. */
  function take(events: readonly Event[]): boolean {
    const before = view;
    for (const event of events) {
      const reduction = reduce(view, event);
      view = reduction.view;
      if (reduction.status === "applied") {
        early.delete(event.seq);
        takeEarly();
      } else if (reduction.status === "gap" && early.size < maxEarlyEvents) {
        early.set(event.seq, event);
      }
    }
    if (view !== before) for (const listener of listeners) listener();
    return early.size > 0;
  }

  function takeEarly(): void {
    for (let next = early.get(view.lastSeq + 1); next; next = early.get(view.lastSeq + 1)) {
      view = reduce(view, next).view;
      early.delete(next.seq);
    }
  }

  async function readToEnd(): Promise<void> {
    for (;;) {
      readAgain = false;
      const page = await deps.readPage({ after: view.lastSeq });
      take(page.events);
      const caughtUp = view.lastSeq >= page.lastSeq;
      closed = page.closed && caughtUp;
      // Events that came early while the page was under way are newer than the page: read on.
      const done = page.events.length === 0 || (caughtUp && early.size === 0);
      if (done && !readAgain) return;
    }
  }

  function fillGap(): Promise<void> {
    filling ??= readToEnd().finally(() => {
      filling = undefined;
    });
    return filling;
  }

  return {
    view: () => view,
    closed: () => closed,
    behind: () => early.size > 0,
    receive(events) {
      // What cannot be read now leaves the view behind: the next delivery or fill reads it.
      if (take(events)) fillGap().catch(() => undefined);
    },
    fill() {
      // A read that is under way may be older than what this caller wants to see.
      readAgain = true;
      return fillGap();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
