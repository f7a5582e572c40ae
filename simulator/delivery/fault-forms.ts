import type { Fault } from "./faults.ts";
import type { WireUsage } from "../protocol/message-json.ts";

type UsageForm = Extract<Fault, { kind: "usage" }>["form"];
type MalformedForm = Extract<Fault, { kind: "malformed" }>["form"];

const LONG_LINE_BYTES = 10 * 1024 * 1024;

function mapCounts(usage: WireUsage, change: (count: number) => number | null): WireUsage {
  return Object.fromEntries(
    Object.entries(usage).map(([name, value]) => [
      name,
      typeof value === "number" ? change(value) : value,
    ]),
  );
}

/** Bends a usage object as told; undefined stands for a usage that is left out. */
function bendUsage(input: {
  usage: WireUsage;
  form: UsageForm;
  last: boolean;
}): WireUsage | null | undefined {
  const { usage } = input;
  switch (input.form) {
    case "missing":
      return undefined;
    case "null":
      return null;
    case "negative":
      return mapCounts(usage, (count) => -count);
    case "times_ten":
      return mapCounts(usage, (count) => count * 10);
    case "unknown_kind":
      return { ...usage, simulated_mystery_tokens: 777 };
    case "decreasing":
      // The start claims a thousand tokens of output more than the end.
      return input.last
        ? mapCounts(usage, (count) => Math.floor(count / 2))
        : mapCounts(usage, (count) => count + 1_000);
  }
}

/** Puts the bent usage into the data of an event or into a whole message. */
export function bendData(input: {
  data: Record<string, unknown>;
  form: UsageForm;
  last: boolean;
}): Record<string, unknown> {
  const { usage, message, ...rest } = input.data;
  if (message !== null && typeof message === "object")
    return { ...rest, message: bendData({ ...input, data: { ...message } }) };
  if (usage === null || typeof usage !== "object") return input.data;
  const bent = bendUsage({ usage: { ...usage }, form: input.form, last: input.last });
  return bent === undefined ? rest : { ...rest, usage: bent };
}

/** One frame of a server-sent event stream. */
export function frame(event: string, data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Writes a frame in a malformed or unusual way; each string becomes one write. */
export function malformedFrame(input: {
  text: string;
  form: MalformedForm;
  event: string;
  first: boolean;
}): (string | Buffer)[] {
  const { text } = input;
  switch (input.form) {
    case "split_utf8":
      // One byte at a time splits every character that has more than one, and every line.
      return Array.from(Buffer.from(text), (byte) => Buffer.from([byte]));
    case "crlf":
      return [text.replaceAll("\n", "\r\n")];
    case "bom":
      return [input.first ? `\uFEFF${text}` : text];
    case "comments":
      return [`: simulated comment\nid: 7\nretry: 1000\n${text}`];
    case "unknown_event":
      return [text, frame("simulated_unknown", { type: "simulated_unknown", note: "skip me" })];
    case "long_line":
      return input.first
        ? [
            text,
            frame("simulated_filler", {
              type: "simulated_filler",
              filler: ".".repeat(LONG_LINE_BYTES),
            }),
          ]
        : [text];
    case "no_blank_line":
      // The last two frames run together, and the stream's last blank line is missing too.
      return [
        input.event === "message_delta"
          ? text.slice(0, -1)
          : input.event === "message_stop"
            ? text.slice(0, -2)
            : text,
      ];
    case "bad_json":
      return input.event === "content_block_stop"
        ? [text, 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,\n\n']
        : [text];
  }
}
