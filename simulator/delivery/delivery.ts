import { performance } from "node:perf_hooks";
import type { ServerResponse } from "node:http";
import { bendData, frame, malformedFrame } from "./fault-forms.ts";
import type { Fault } from "./faults.ts";
import type { MessageFacts } from "../protocol/message-json.ts";
import { messageJson } from "../protocol/message-json.ts";
import type { Problem } from "../protocol/problem.ts";
import { problemJson } from "../protocol/problem.ts";
import type { StreamEvent } from "../protocol/stream-events.ts";
import { generatedTokens, streamEvents } from "../protocol/stream-events.ts";
import type { BreakOff, Wire } from "./wire.ts";
import { openWire } from "./wire.ts";

/** How long the model takes: until its first byte, and for each event of the stream. */
export type Latency = { firstByteMs: number; perEventMs: number };

type DeliveryRequest = {
  res: ServerResponse;
  facts: MessageFacts;
  latency: Latency;
  fault: Fault | undefined;
  requestId: string;
};

/** What became of an answer. `outputTokens` is what had been generated, which is what is billed. */
type Delivered = {
  outputTokens: number;
  stopReason: string | null;
  clientClosedEarly: boolean;
};

function breakOffOf(fault: Fault | undefined): BreakOff | undefined {
  if (fault?.kind === "cut") return { afterBytes: fault.after_bytes, how: "destroy" };
  return fault?.kind === "half_close" && fault.after_bytes !== undefined
    ? { afterBytes: fault.after_bytes, how: "end" }
    : undefined;
}

function stallMs(fault: Fault | undefined, index: number): number {
  return fault?.kind === "stall" &&
    fault.at !== "before_headers" &&
    (fault.before_event ?? 1) === index
    ? fault.ms
    : 0;
}

async function writeEvent(
  wire: Wire,
  input: { event: StreamEvent; first: boolean; fault: Fault | undefined },
): Promise<boolean> {
  const { event, fault } = input;
  const data =
    fault?.kind === "usage"
      ? bendData({ data: event.data, form: fault.form, last: event.event !== "message_start" })
      : event.data;
  const text = frame(event.event, data);
  if (fault?.kind !== "malformed") return wire.write(Buffer.from(text));
  for (const part of malformedFrame({
    text,
    form: fault.form,
    event: event.event,
    first: input.first,
  }))
    if (!(await wire.write(Buffer.from(part)))) return false;
  return true;
}

/** Writes the events one by one; returns how many of them had been generated when the stream ended. */
async function writeStream(
  wire: Wire,
  input: { request: DeliveryRequest; events: readonly StreamEvent[] },
): Promise<number> {
  const { fault, latency, requestId } = input.request;
  for (const [index, event] of input.events.entries()) {
    if (!(await wire.wait(stallMs(fault, index) + (index === 0 ? 0 : latency.perEventMs))))
      return index;
    if (fault?.kind === "error_event" && index === fault.at) {
      const failure: Problem = { status: 200, type: fault.error_type, message: fault.message };
      await wire.write(Buffer.from(frame("error", problemJson(failure, requestId))));
      wire.end();
      return index;
    }
    if (fault?.kind === "half_close" && event.event === "message_stop") break;
    // The frame in which a connection breaks counts as generated: the model was ahead of the wire.
    if (!(await writeEvent(wire, { event, first: index === 0, fault }))) return index + 1;
  }
  wire.end();
  return input.events.length;
}

async function startBody(wire: Wire, request: DeliveryRequest): Promise<boolean> {
  const { fault, latency } = request;
  const silenceMs = fault?.kind === "stall" && fault.at === "before_headers" ? fault.ms : 0;
  if (!(await wire.wait(latency.firstByteMs + silenceMs))) return false;
  if (fault?.kind !== "hang_up") return true;
  request.res.destroy();
  return false;
}

async function deliverStream(request: DeliveryRequest): Promise<Delivered> {
  const { res, facts, fault } = request;
  const events = streamEvents(facts);
  const wire = openWire(res, breakOffOf(fault));
  let count = 0;
  if (await startBody(wire, request)) {
    res.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
    });
    res.flushHeaders();
    count = await writeStream(wire, { request, events });
  }
  const complete = count === events.length;
  return {
    outputTokens: complete ? facts.answer.outputTokens : generatedTokens({ facts, events, count }),
    stopReason: complete ? facts.answer.stopReason : null,
    clientClosedEarly: wire.clientClosed() && fault?.kind !== "hang_up",
  };
}

function wholeBody(request: DeliveryRequest): Buffer {
  const { facts, fault } = request;
  const body = messageJson(facts);
  const text = JSON.stringify(
    fault?.kind === "usage" ? bendData({ data: body, form: fault.form, last: true }) : body,
  );
  if (fault?.kind !== "malformed") return Buffer.from(text);
  if (fault.form === "bom") return Buffer.from(`\uFEFF${text}`);
  return Buffer.from(fault.form === "bad_json" ? text.slice(0, -1) : text);
}

async function deliverWhole(request: DeliveryRequest): Promise<Delivered> {
  const { res, facts, fault, latency } = request;
  const body = wholeBody(request);
  const orderlyHalf: BreakOff | undefined =
    fault?.kind === "half_close"
      ? { afterBytes: fault.after_bytes ?? Math.floor(body.length / 2), how: "end" }
      : undefined;
  const wire = openWire(res, orderlyHalf ?? breakOffOf(fault));
  const events = streamEvents(facts);
  const startedMs = performance.now();
  const started = await startBody(wire, request);
  const stall = fault?.kind === "stall" && fault.at !== "before_headers" ? fault.ms : 0;
  // Without a stream the caller waits as long as the stream would have taken.
  if (started && (await wire.wait((events.length - 1) * latency.perEventMs + stall))) {
    res.writeHead(200, {
      "content-type": "application/json",
      ...(fault === undefined ? { "content-length": body.length } : {}),
    });
    if (fault?.kind === "malformed" && fault.form === "split_utf8")
      for (const byte of body) await wire.write(Buffer.from([byte]));
    else await wire.write(body);
    wire.end();
    return {
      outputTokens: facts.answer.outputTokens,
      stopReason: facts.answer.stopReason,
      clientClosedEarly: wire.clientClosed(),
    };
  }
  const generatingMs = performance.now() - startedMs - latency.firstByteMs;
  const count =
    generatingMs < 0 || latency.perEventMs <= 0
      ? 0
      : Math.min(events.length, 1 + Math.floor(generatingMs / latency.perEventMs));
  return {
    outputTokens: generatedTokens({ facts, events, count }),
    stopReason: null,
    clientClosedEarly: fault?.kind !== "hang_up",
  };
}

/**
 * Sends an answer, streamed or whole, with the latency and the fault it was given. A close by the client
 * stops the generation at the event that was due.
 */
export function deliver(request: DeliveryRequest, stream: boolean): Promise<Delivered> {
  return stream ? deliverStream(request) : deliverWhole(request);
}
