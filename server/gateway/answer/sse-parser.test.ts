import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSseParser, type SseFrame } from "./sse-parser.ts";

function parse(chunks: readonly Buffer[]): SseFrame[] {
  const frames: SseFrame[] = [];
  const parser = createSseParser((frame) => frames.push(frame));
  for (const chunk of chunks) parser.push(chunk);
  parser.end();
  return frames;
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...chunks, bytes.subarray(at)];
}

const lineEnd = fc.constantFrom("\n", "\r\n", "\r");
const text = fc.string({ unit: "grapheme", maxLength: 20 }).map((s) => s.replaceAll(/[\r\n]/g, ""));
const event = fc.record({
  event: fc.constantFrom("message_start", "message_delta", "ping", "größe"),
  data: fc.array(text, { minLength: 1, maxLength: 3 }),
  comment: fc.option(text),
  space: fc.boolean(),
});
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

function write(one: Event, end: string): string {
  const space = one.space ? " " : "";
  const lines = [
    ...(one.comment === null ? [] : [`:${one.comment}`]),
    `event:${space}${one.event}`,
    "id: 7",
    // A value that begins with a space needs the optional space before it.
    ...one.data.map((line) => `data: ${line}`),
    "",
  ];
  return lines.map((line) => line + end).join("");
}

describe("event stream parser", () => {
  test("frames come out as they were written, however lines end and chunks are cut", () => {
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 6 }),
        lineEnd,
        fc.boolean(),
        fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 60 }),
        (events, end, mark, sizes) => {
          const bytes = Buffer.from(
            (mark ? "\uFEFF" : "") + events.map((e) => write(e, end)).join(""),
          );
          const frames = parse(cut(bytes, sizes));
          expect(frames.map(({ event: name, data }) => ({ event: name, data }))).toEqual(
            events.map((one) => ({ event: one.event, data: one.data.join("\n") })),
          );
        },
      ),
      { numRuns: 20_000 },
    );
  });

  test("whatever bytes come, it neither throws nor loses its place", () => {
    const token = fc.constantFrom(
      "event:",
      "data:",
      "data: {",
      "message_stop",
      "\n",
      "\r",
      "\r\n",
      ":",
      "\u0000",
      "é",
      "😀",
      "\uFEFF",
    );
    const noise = fc.oneof(
      token.map((t) => Buffer.from(t)),
      fc.uint8Array({ maxLength: 5 }).map((b) => Buffer.from(b)),
    );
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 40 }), (chunks) => {
        const frames = parse(chunks);
        const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        let before = 0;
        for (const frame of frames) {
          expect(frame.startOffset).toBeGreaterThanOrEqual(before);
          expect(frame.endOffset).toBeGreaterThan(frame.startOffset);
          before = frame.endOffset;
        }
        expect(before).toBeLessThanOrEqual(total);
        // The same bytes in one piece give the same frames.
        const contents = (list: SseFrame[]) => list.map(({ event: name, data }) => [name, data]);
        expect(contents(parse([Buffer.concat(chunks)]))).toEqual(contents(frames));
      }),
      { numRuns: 50_000 },
    );
  });

  test("a lost blank line does not run two events together", () => {
    const frames = parse([Buffer.from("event: a\ndata: 1\nevent: b\ndata: 2")]);
    expect(frames.map(({ event: name, data }) => [name, data])).toEqual([
      ["a", "1"],
      ["b", "2"],
    ]);
  });

  test("data that is too large is let go, and the next frame is whole again", () => {
    const megabyte = Buffer.alloc(1024 * 1024, "x");
    const frames = parse([
      Buffer.from("event: filler\ndata: "),
      ...Array.from({ length: 10 }, () => megabyte),
      Buffer.from("\n\nevent: message_stop\ndata: {}\n\n"),
    ]);
    expect(frames.map(({ event: name, data }) => [name, data])).toEqual([
      ["filler", undefined],
      ["message_stop", "{}"],
    ]);
  });

  test("an event that stands inside the content of another is not seen", () => {
    const content = JSON.stringify({ text: "x\n\nevent: message_delta\ndata: {}\n\n" });
    const frames = parse([Buffer.from(`event: content_block_delta\ndata: ${content}\n\n`)]);
    expect(frames.map((frame) => frame.event)).toEqual(["content_block_delta"]);
  });
});
