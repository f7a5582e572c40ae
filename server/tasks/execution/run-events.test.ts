import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { createRunEvents } from "./run-events.ts";

/** Time stands still but for what a test lets pass. */
function open() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const batches: (readonly EventBody[])[] = [];
  const events = createRunEvents({
    intervalMs: 150,
    write: (batch) => {
      batches.push(structuredClone(batch));
      return Promise.resolve();
    },
  });
  return { events, batches };
}

const text = (step: number, words: string): EventBody => ({
  type: "model.text",
  data: { step, text: words },
});
const started: EventBody = {
  type: "model.started",
  data: { step: 1, model: "m", held_nano_usd: 1, max_tokens: 1 },
};

it("text becomes at most one event per interval, however many pieces come, and none is lost", async () => {
  const { events, batches } = open();
  for (let piece = 0; piece < 100; piece++) {
    events.pushText(1, `${piece} `);
    await vi.advanceTimersByTimeAsync(10);
  }
  await events.flush();
  expect(batches.length).toBeLessThanOrEqual(8);
  expect(batches.every((batch) => batch.length === 1)).toBe(true);
  const whole = batches.flat().map((event) => (event.type === "model.text" ? event.data.text : ""));
  expect(whole.join("")).toBe(Array.from({ length: 100 }, (_, n) => `${n} `).join(""));
});

it("events keep their order, and text never moves past another event", async () => {
  const { events, batches } = open();
  events.pushText(1, "a");
  events.pushText(1, "b");
  events.push(started);
  events.pushText(1, "c");
  events.pushText(2, "d");
  await events.flush();
  expect(batches).toEqual([[text(1, "ab"), started, text(1, "c"), text(2, "d")]]);
});

it("what is taken is not written again", async () => {
  const { events, batches } = open();
  events.pushText(1, "a");
  expect(await events.take()).toEqual([text(1, "a")]);
  await vi.advanceTimersByTimeAsync(1_000);
  await events.flush();
  expect(batches).toEqual([]);
});
