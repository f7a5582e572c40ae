import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findPrice } from "../request/prices.ts";
import { createStreamTap } from "./stream-tap.ts";

const pricing = { price: findPrice("claude-sonnet-4-5")!, largestTtl: "5m" as const };
const COST = 20 * 3_000 + 9 * 15_000;

const frame = (event: string, data: object): string =>
  `event: ${event}\ndata: ${JSON.stringify({ type: event, ...data })}\n\n`;
const BODY = [
  frame("message_start", { message: { usage: { input_tokens: 20, output_tokens: 1 } } }),
  frame("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
  frame("content_block_delta", {
    index: 0,
    delta: { type: "text_delta", text: "ä€😀 event: message_stop\n\n" },
  }),
  frame("content_block_stop", { index: 0 }),
  frame("message_delta", { delta: { stop_reason: "end_turn" }, usage: { output_tokens: 9 } }),
].join("");
const STOP = frame("message_stop", {});
const BYTES = Buffer.from(BODY + STOP);

function tapOf(chunks: readonly Buffer[]) {
  const tap = createStreamTap(pricing);
  const passed = Buffer.concat([
    ...chunks.flatMap((chunk) => tap.push(chunk)),
    ...(tap.finished() ? [] : tap.end()),
  ]);
  return { tap, passed };
}

describe("listening to a stream while it passes", () => {
  test("however it is cut into chunks, all but the last frame passes unchanged, and the last when asked for", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 100 }), (sizes) => {
        const chunks: Buffer[] = [];
        let at = 0;
        for (const size of sizes) {
          chunks.push(BYTES.subarray(at, at + size));
          at += size;
        }
        chunks.push(BYTES.subarray(at));
        const { tap, passed } = tapOf(chunks);
        expect(passed.toString()).toBe(BODY);
        expect(tap.verdict()).toMatchObject({ status: "clean", costNanoUsd: COST });
        expect(Buffer.concat(tap.takeHeld()).toString()).toBe(STOP);
        expect(tap.takeHeld()).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("cut at every byte, it is clean only when the last frame's data is there, and only whole frames have passed", () => {
    const whole = BYTES.length - 2;
    for (let length = 0; length <= BYTES.length; length++) {
      const { tap, passed } = tapOf([BYTES.subarray(0, length)]);
      expect(tap.verdict().status).toBe(length < whole ? "unknown" : "clean");
      expect(tap.finished()).toBe(length >= whole);
      expect(BODY.startsWith(passed.toString())).toBe(true);
      expect(passed.length === 0 || passed.toString().endsWith("\n\n")).toBe(true);
    }
  });

  test("a frame of any size passes without being kept", () => {
    const tap = createStreamTap(pricing);
    tap.push(Buffer.from("event: filler\ndata: "));
    const megabyte = Buffer.alloc(1024 * 1024, "x");
    let passed = 0;
    for (let count = 0; count < 10; count++)
      passed += tap.push(megabyte).reduce((sum, part) => sum + part.length, 0);
    expect(passed).toBeGreaterThan(9 * 1024 * 1024);
    expect(tap.openFrame()).toBe(true);
    tap.push(Buffer.from("\n\n"));
    expect(tap.openFrame()).toBe(false);
    tap.push(BYTES);
    expect(tap.verdict()).toMatchObject({ status: "clean", costNanoUsd: COST });
  });

  test("nothing after the last frame changes the charge", () => {
    const { tap } = tapOf([
      BYTES,
      Buffer.from(frame("message_delta", { usage: { output_tokens: 10_000 } })),
    ]);
    expect(tap.verdict()).toMatchObject({ status: "clean", costNanoUsd: COST });
  });

  test.each([
    [
      "an error event after the last report",
      BODY + frame("error", { error: { type: "api_error" } }),
    ],
    ["a last report without its usage", BODY.replace(/,"usage":\{"output_tokens":9\}/, "") + STOP],
    [
      "a usage that was not the last report's",
      BODY.replace('"stop_reason":"end_turn"', '"stop_reason":null') +
        frame("message_delta", { delta: { stop_reason: "end_turn" } }) +
        STOP,
    ],
    [
      "a report that cannot be read",
      BODY.replace('"output_tokens":1}', '"output_tokens":1') + STOP,
    ],
    ["an end without a reason to stop", BODY.replace('"end_turn"', "null") + STOP],
  ])("%s is no clean end", (_what, text) => {
    expect(text).not.toBe(BODY + STOP);
    const { tap } = tapOf([Buffer.from(text)]);
    expect(tap.finished()).toBe(true);
    expect(tap.verdict().status).toBe("unknown");
  });

  test("marks of thinking are found, in both forms", () => {
    const { tap } = tapOf([
      Buffer.from(
        frame("content_block_start", {
          content_block: { type: "redacted_thinking", data: "abc" },
        }) + frame("content_block_delta", { delta: { type: "signature_delta", signature: "def" } }),
      ),
    ]);
    expect(tap.thinkingMarks()).toEqual(["abc", "def"]);
  });
});
