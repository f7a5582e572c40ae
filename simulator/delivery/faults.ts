import { z } from "zod";

const match = z.strictObject({
  /** 1-based number of the call among the calls to `/v1/messages` since the plan was set. */
  nth: z.int().min(1).optional(),
  /** Value of the call's `x-sim-tag` header. */
  tag: z.string().optional(),
  model: z.string().optional(),
});

const scope = {
  match: match.optional(),
  /** How many calls get the fault; without it, every call that matches. */
  times: z.int().min(1).optional(),
};

const fault = z.discriminatedUnion("kind", [
  /** The call is refused with this status before it is billed. */
  z.strictObject({
    ...scope,
    kind: z.literal("status"),
    status: z.union([
      z.literal(400),
      z.literal(401),
      z.literal(403),
      z.literal(404),
      z.literal(413),
      z.literal(429),
      z.literal(500),
      z.literal(503),
      z.literal(504),
      z.literal(529),
    ]),
    message: z.string().optional(),
    retry_after_seconds: z.int().min(0).optional(),
  }),
  /** The socket is destroyed before the response's first byte, after the call was admitted and billed its input. */
  z.strictObject({ ...scope, kind: z.literal("hang_up") }),
  /** The socket is destroyed after exactly this many bytes of the response body. */
  z.strictObject({ ...scope, kind: z.literal("cut"), after_bytes: z.int().min(0) }),
  /** The response ends in good order but without `message_stop`; with `after_bytes`, there. */
  z.strictObject({
    ...scope,
    kind: z.literal("half_close"),
    after_bytes: z.int().min(0).optional(),
  }),
  /** Silence. `before_headers`: no byte at all; `before_event`: before the event of that index (0 = message_start). */
  z.strictObject({
    ...scope,
    kind: z.literal("stall"),
    ms: z.int().min(1).max(3_600_000),
    at: z.literal("before_headers").optional(),
    before_event: z.int().min(0).optional(),
  }),
  z.strictObject({
    ...scope,
    kind: z.literal("malformed"),
    form: z.enum([
      "split_utf8",
      "crlf",
      "unknown_event",
      "bom",
      "no_blank_line",
      "comments",
      "long_line",
      "bad_json",
    ]),
  }),
  /** The model is stuck: it makes the last tool calls of the conversation again, so many of them, instead of going on. */
  z.strictObject({ ...scope, kind: z.literal("repeat"), calls: z.int().min(1).max(20).default(1) }),
  /** What the wire says about usage; the meter keeps the truth. */
  z.strictObject({
    ...scope,
    kind: z.literal("usage"),
    form: z.enum(["missing", "null", "negative", "decreasing", "times_ten", "unknown_kind"]),
  }),
  /** `event: error` in place of the event of index `at`; then the stream ends. */
  z.strictObject({
    ...scope,
    kind: z.literal("error_event"),
    at: z.int().min(0),
    error_type: z.string().default("overloaded_error"),
    message: z.string().default("Overloaded"),
  }),
]);

const plan = z.union([
  z.array(fault),
  z.strictObject({ faults: z.array(fault) }).transform((body) => body.faults),
  fault.transform((one) => [one]),
]);

/** One injected fault, as it stands in a plan; the field names are those of the JSON. */
export type Fault = z.output<typeof fault>;
/** Faults in the order in which they are tried: the first that matches a call is used. */
export type FaultPlan = readonly z.input<typeof fault>[];

/** Reads a fault plan: an array, `{faults: [...]}` or a single fault. */
export function parseFaultPlan(
  value: unknown,
): { ok: true; plan: readonly Fault[] } | { ok: false; message: string } {
  const parsed = plan.safeParse(value);
  return parsed.success
    ? { ok: true, plan: parsed.data }
    : { ok: false, message: `fault plan: ${z.prettifyError(parsed.error)}` };
}

export type FaultInjector = {
  /** Replaces the plan and counts calls from one again. */
  set(plan: readonly Fault[]): void;
  /** Counts a call to `/v1/messages` and says which fault it gets. */
  next(call: { tag: string | null; model: string }): Fault | undefined;
};

/** Builds the injector that hands each call its fault. */
export function createFaultInjector(initial: readonly Fault[]): FaultInjector {
  let calls = 0;
  let armed: { fault: Fault; left: number }[] = [];

  function set(next: readonly Fault[]): void {
    calls = 0;
    armed = next.map((entry) => ({ fault: entry, left: entry.times ?? Number.POSITIVE_INFINITY }));
  }

  function next(call: { tag: string | null; model: string }): Fault | undefined {
    calls += 1;
    const hit = armed.find(({ fault: { match: wanted }, left }) => {
      if (left <= 0) return false;
      if (wanted?.nth !== undefined && wanted.nth !== calls) return false;
      if (wanted?.tag !== undefined && wanted.tag !== call.tag) return false;
      return wanted?.model === undefined || wanted.model === call.model;
    });
    if (hit !== undefined) hit.left -= 1;
    return hit?.fault;
  }

  set(initial);
  return { set, next };
}
