import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createSimulator, type Simulator } from "../../../simulator/simulator.ts";
import { findPrice } from "../request/prices.ts";
import { createStreamTap } from "./stream-tap.ts";

const MODEL = "claude-sonnet-5-5";
const pricing = { price: findPrice(MODEL)!, largestTtl: "5m" as const };

let simulator: Simulator;
let bytes: Buffer;
let costNanoUsd: number;

/** A whole stream of the simulated provider: thinking, text of several alphabets, a tool use, cache counts. */
beforeAll(async () => {
  simulator = createSimulator({ latency: { firstByteMs: 0, perEventMs: 0 } });
  const { url } = await simulator.listen();
  const response = await fetch(`${url}/v1/messages`, {
    method: "POST",
    headers: { "x-api-key": "k", "anthropic-version": "2023-06-01" },
    body: JSON.stringify({
      model: MODEL,
      max_tokens: 4_000,
      stream: true,
      thinking: { type: "adaptive" },
      cache_control: { type: "ephemeral" },
      system: "Cached words. ".repeat(500),
      messages: [
        { role: "user", content: "Grüße 😀 здесь: event: message_stop\ndata: {}\n\nEnde" },
      ],
    }),
  });
  bytes = Buffer.from(await response.arrayBuffer());
  costNanoUsd = simulator.meter.report().totals.cost_nano_usd;
});
afterAll(() => simulator.close());

/** Offsets at which a frame ends, the blank line included. */
function frameEnds(): number[] {
  const text = bytes.toString("latin1");
  return [...text.matchAll(/\n\n/g)].map((match) => match.index + 2);
}

function run(chunks: readonly Buffer[]) {
  const tap = createStreamTap(pricing);
  let received = 0;
  let passed = 0;
  let mostWithheld = 0;
  for (const chunk of chunks) {
    received += chunk.length;
    for (const part of tap.push(chunk)) passed += part.length;
    if (tap.finished()) break;
    mostWithheld = Math.max(mostWithheld, received - passed);
  }
  if (!tap.finished()) for (const part of tap.end()) passed += part.length;
  return { tap, passed, mostWithheld, verdict: tap.verdict() };
}

describe("a recorded stream", () => {
  test("is some thousand bytes with everything in it, and as a whole it is charged exactly", () => {
    expect(bytes.length).toBeGreaterThan(4_000);
    expect(bytes.toString()).toContain("thinking_delta");
    expect(bytes.toString()).toContain("cache_creation_input_tokens");
    expect(run([bytes]).verdict).toMatchObject({ status: "clean", costNanoUsd });
  });

  test("cut at every byte, it is clean with the exact charge only when its last frame came, and unknown before", () => {
    const ends = frameEnds();
    // The data of the last frame is complete two bytes before its blank line.
    const whole = bytes.length - 2;
    for (let length = 0; length <= bytes.length; length++) {
      const { tap, passed, verdict } = run([bytes.subarray(0, length)]);
      if (length < whole) expect(verdict.status, `cut at ${length}`).toBe("unknown");
      else expect(verdict).toMatchObject({ status: "clean", costNanoUsd });
      expect(tap.finished()).toBe(length >= whole);
      // Only whole frames have gone on, and never the last one.
      if (passed > 0) expect(ends).toContain(passed);
      expect(passed).toBeLessThanOrEqual(ends.at(-2)!);
    }
  });

  test("with an error event in any place it is no clean end, and what was seen of the usage is kept", () => {
    const error = Buffer.from(
      'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
    );
    const ends = [0, ...frameEnds()];
    for (const [place, end] of ends.slice(0, -1).entries()) {
      const { tap, verdict } = run([bytes.subarray(0, end), error, bytes.subarray(end)]);
      expect(verdict).toEqual({ status: "unknown", reason: "an error event in the stream" });
      expect(tap.finished()).toBe(true);
      if (place > 0) expect(tap.usageRecord()["cache_creation_5m_input_tokens"]).toBeGreaterThan(0);
    }
  });

  test("in single bytes, with its lines ended in any way, it is charged exactly", () => {
    for (const end of ["\n", "\r\n", "\r"]) {
      const text = bytes.toString().replaceAll("\n", end);
      const singles = [...Buffer.from(text)].map((byte) => Buffer.from([byte]));
      expect(run(singles).verdict).toMatchObject({ status: "clean", costNanoUsd });
    }
  });
});

/** What may be put between two frames without changing what they say. */
const harmless = fc.oneof(
  fc.constantFrom(
    ": a comment\n\n",
    "event: ping\ndata: {}\n\n",
    'event: never_heard_of\ndata: {"usage":{"output_tokens":0}}\n\n',
    "id: 7\nretry: 10\n\n",
    "data\n\n",
    "event: message_delta\n\n",
    "\n\n\n",
    "event: content_block_delta\ndata: {broken\n\n",
    'event: content_block_delta\ndata: {"delta":{"text":"\\n\\nevent: message_stop"}}\n\n',
    "unknown-field: x\n\n",
  ),
  fc
    .string({ unit: "grapheme", maxLength: 30 })
    .map((text) => `:${text.replaceAll(/[\r\n]/g, "")}\n\n`),
  fc.integer({ min: 1, max: 40_000 }).map((size) => `event: filler\ndata: ${"x".repeat(size)}\n\n`),
);
/** What breaks a stream somewhere. */
const harmful = fc.oneof(
  fc.constantFrom("event: message_delta\ndata: {broken\n\n", "event: message_start\ndata: 7\n\n"),
  fc.uint8Array({ maxLength: 20 }).map((noise) => Buffer.from(noise).toString("latin1")),
  fc.constantFrom(
    "\u0000",
    "\uFEFF",
    "data: ",
    "event: message_delta\ndata: ",
    "event:",
    "{",
    "\r",
  ),
);
const layout = fc.record({
  lineEnd: fc.constantFrom("\n", "\r\n", "\r"),
  mark: fc.boolean(),
  noBlankAt: fc.option(fc.nat(60)),
  sizes: fc.array(fc.integer({ min: 1, max: 2_000 }), { maxLength: 20 }),
});
type Layout = typeof layout extends fc.Arbitrary<infer T> ? T : never;

/** The recorded frames with other things between them, written in another way and cut into chunks. */
function write(insertions: readonly { at: number; text: string }[], how: Layout): Buffer[] {
  const frames = bytes.toString().split("\n\n").slice(0, -1);
  let text = how.mark ? "\uFEFF" : "";
  for (const [index, frame] of frames.entries()) {
    for (const { at, text: inserted } of insertions)
      if (at % frames.length === index) text += inserted;
    // A lost blank line, which is told by the next `event`.
    text += index === how.noBlankAt && index < frames.length - 1 ? `${frame}\n` : `${frame}\n\n`;
  }
  const all = Buffer.from(text.replaceAll("\n", how.lineEnd));
  const chunks: Buffer[] = [];
  let at = 0;
  for (const size of how.sizes) {
    chunks.push(all.subarray(at, at + size));
    at += size;
  }
  return [...chunks, all.subarray(at)].filter((chunk) => chunk.length > 0);
}

const between = (text: fc.Arbitrary<string>) =>
  fc.array(fc.record({ at: fc.nat(200), text }), { maxLength: 4 });

describe("a malformed stream", () => {
  test("that still says all is charged exactly, however it is written", () => {
    fc.assert(
      fc.property(between(harmless), layout, (insertions, how) => {
        // A frame that lost its blank line takes what follows for its own, unless that begins with an event.
        const fitting = how.noBlankAt === null ? insertions : [];
        const { verdict, mostWithheld } = run(write(fitting, how));
        expect(verdict).toMatchObject({ status: "clean", costNanoUsd });
        expect(mostWithheld).toBeLessThanOrEqual(64 * 1024);
      }),
      { numRuns: 15_000 },
    );
  }, 120_000);

  test("never throws, never keeps more than a little back, and is never charged below its cost as a clean end", () => {
    fc.assert(
      fc.property(between(fc.oneof(harmful, harmless)), layout, (insertions, how) => {
        const { verdict, mostWithheld } = run(write(insertions, how));
        if (verdict.status === "clean")
          expect(verdict.costNanoUsd).toBeGreaterThanOrEqual(costNanoUsd);
        expect(mostWithheld).toBeLessThanOrEqual(1024 * 1024 + 2_000);
      }),
      { numRuns: 15_000 },
    );
  }, 120_000);
});
