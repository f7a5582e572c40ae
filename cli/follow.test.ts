import { expect, onTestFinished, test, vi } from "vitest";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { Client } from "@guildhall/sdk/client/client.ts";
import type { Context } from "./context.ts";
import { exitCode } from "./exit.ts";
import { followTask } from "./follow.ts";

const base = { stream_id: "task_1", at: "2026-01-01T00:00:00.000Z" };
const halfLine: Event = {
  ...base,
  seq: 1,
  type: "model.text",
  data: { step: 1, text: "The figures agree." },
};

/** What a person reads while the task's events come from `events`. */
function watch(events: () => AsyncGenerator<Event>): { printed: () => string; context: Context } {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  onTestFinished(() => write.mockRestore());
  const tasks = {
    stream: events,
    get: async () => ({ state: "cancelled", usage: { spent_nano_usd: 14_100_000 } }),
  };
  const context: Context = {
    client: { tasks } as unknown as Client,
    baseUrl: "http://127.0.0.1:1",
    json: false,
    print: (line) => void (text += `${line}\n`),
  };
  return { printed: () => text, context };
}

test("the end of a task gets a line of its own, also in the middle of a streamed one", async () => {
  const { context, printed } = watch(async function* () {
    yield halfLine;
    yield { ...base, seq: 2, type: "task.cancelled", data: {} };
  });
  expect(await followTask(context, "task_1")).toBe(exitCode.failed);
  expect(printed()).toBe("The figures agree.\n✖ cancelled · $0.0141\n");
});

test("a connection that is lost in the middle of a line ends the line before the error is told", async () => {
  const { context, printed } = watch(async function* () {
    yield halfLine;
    throw new Error("gone");
  });
  await expect(followTask(context, "task_1")).rejects.toThrow("gone");
  expect(printed()).toBe("The figures agree.\n");
});

test("a call of which nobody knows whether it took effect is marked as a question, with how to answer it", async () => {
  const call = { step: 2, tool_use_id: "t", name: "send", preview: "", duration_ms: 0 };
  const { context, printed } = watch(async function* () {
    yield {
      ...base,
      seq: 1,
      type: "tool.completed",
      data: { ...call, is_error: true, summary: "Nobody knows", outcome_unknown: true },
    };
    const question = { kind: "question", question_id: "qst_1", question: "Did it?" } as const;
    yield { ...base, seq: 2, type: "task.waiting", data: question };
    yield { ...base, seq: 3, type: "task.cancelled", data: {} };
  });
  await followTask(context, "task_1");
  expect(printed()).toMatch(/^\? send: Nobody knows\n\? Did it\?\n.*guildhall task answer qst_1/);
});
