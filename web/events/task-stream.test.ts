import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyStream, streamOf } from "../test/events.ts";
import type { Event } from "./event-parts.ts";
import { reduceAll } from "./reducer.ts";
import { createTaskStream, type EventPage } from "./task-stream.ts";
import { emptyTaskView } from "./task-view.ts";

/** The server's table: what is published so far can be read in pages. */
function createTable(events: readonly Event[], pageSize: number) {
  let published = 0;
  return {
    publish: (upTo: number) => {
      published = Math.max(published, upTo);
    },
    readPage: async ({ after }: { after: number }): Promise<EventPage> => ({
      events: events.slice(after, Math.min(after + pageSize, published)),
      lastSeq: published,
      closed: published === events.length,
    }),
  };
}

const pause = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * What a network does to a stream: where the snapshot is cut, then deliveries of arbitrary pieces in arbitrary order,
 * some twice, some never; a delivery of event n proves that the table holds 1..n.
 */
const delivery = anyStream.chain((events) =>
  fc.record({
    events: fc.constant(events),
    snapshot: fc.nat(events.length),
    pageSize: fc.integer({ min: 1, max: events.length }),
    batches: fc.array(fc.array(fc.nat(events.length - 1), { maxLength: 12 }), { maxLength: 12 }),
    failures: fc.array(fc.boolean(), { maxLength: 6 }),
    waits: fc.array(fc.boolean(), { maxLength: 12 }),
  }),
);

describe("createTaskStream", () => {
  it("assembles the in-order fold from any order, repetition, loss and splitting", async () => {
    await fc.assert(
      fc.asyncProperty(delivery, async (plan) => {
        const table = createTable(plan.events, plan.pageSize);
        table.publish(plan.snapshot);
        let reads = 0;
        const stream = createTaskStream({
          taskId: "task_1",
          readPage: async (query) => {
            if (plan.failures[reads++] === true) throw new Error("the network is away");
            return table.readPage(query);
          },
        });
        const first = stream.fill().catch(() => undefined);
        for (const [index, batch] of plan.batches.entries()) {
          table.publish(Math.max(0, ...batch) + 1);
          stream.receive(batch.flatMap((at) => plan.events[at] ?? []));
          if (plan.waits[index] === true) await pause();
        }
        await first;
        table.publish(plan.events.length);
        const caughtUp = () =>
          stream.fill().then(
            () => true,
            () => false,
          );
        while (!(await caughtUp())) await pause();
        expect(stream.view()).toEqual(reduceAll(emptyTaskView("task_1"), plan.events));
        expect(stream.closed()).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("shows a view that is always the fold of a prefix, whatever came early", async () => {
    await fc.assert(
      fc.asyncProperty(delivery, async (plan) => {
        const table = createTable(plan.events, plan.pageSize);
        const stream = createTaskStream({ taskId: "task_1", readPage: table.readPage });
        const seen: number[] = [];
        stream.subscribe(() => {
          const view = stream.view();
          seen.push(view.lastSeq);
          expect(view).toEqual(
            reduceAll(emptyTaskView("task_1"), plan.events.slice(0, view.lastSeq)),
          );
        });
        for (const batch of plan.batches) {
          table.publish(Math.max(0, ...batch) + 1);
          stream.receive(batch.flatMap((at) => plan.events[at] ?? []));
        }
        await stream.fill();
        expect(seen).toEqual(seen.toSorted((left, right) => left - right));
      }),
    );
  });

  it("joins the gaps that show at the same time into one read", async () => {
    const events = streamOf(
      Array.from({ length: 50 }, (_, index) => ({
        type: "model.text" as const,
        data: { step: 1, text: String(index) },
      })),
    );
    const table = createTable(events, 50);
    table.publish(50);
    let reads = 0;
    const stream = createTaskStream({
      taskId: "task_1",
      readPage: (query) => {
        reads += 1;
        return table.readPage(query);
      },
    });
    for (const event of events.slice(10)) stream.receive([event]);
    expect(reads).toBe(1);
    await stream.fill();
    expect(stream.view().lastSeq).toBe(50);
  });
});
