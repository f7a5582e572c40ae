import type { Logger } from "../log.ts";
import { KEPT_CHARS } from "./dead-wakes.ts";
import { type DeadWake, lookAround, type TransportCounts, type WakeListener } from "./transport.ts";
import type { ParsedWake } from "./wake.ts";

/** Hands what arrived to the listener, or puts it away. Never rejects: one bad payload must not stop the next. */
export async function receive(
  deps: {
    transport: DeadWake["transport"];
    counts: TransportCounts;
    listener: WakeListener;
    onDead(dead: DeadWake): Promise<void>;
    log: Logger;
  },
  arrived: { parsed: ParsedWake; text(): string },
): Promise<void> {
  const { transport, counts, listener, log } = deps;
  const { parsed } = arrived;
  try {
    switch (parsed.status) {
      case "wake":
        counts.received += 1;
        if (parsed.wake.kind === "task_ended") listener.ended(parsed.wake);
        else await listener.ready(parsed.wake);
        return;
      case "other_version":
        counts.otherVersion += 1;
        await listener.ready(lookAround);
        return;
      case "unfit": {
        counts.dead += 1;
        const payload = arrived.text().slice(0, KEPT_CHARS);
        const { reason } = parsed;
        log.error({ transport, payload, reason }, "a wake fits no schema and was put away");
        await deps.onDead({ transport, payload, reason });
        return;
      }
    }
  } catch (error) {
    log.warn({ err: error, transport }, "a wake was not heeded; the poll finds what it told of");
  }
}
