import type { Wake } from "./wake.ts";

/** Who is told. Neither may fail for long or wait for much: a wake is a hint. */
export type WakeListener = {
  /** Work for whoever has room. Resolves when this process can take the next one. */
  ready(wake: Wake): Promise<void>;
  /** Told to every process. */
  ended(wake: Wake): void;
};

/** A payload that fits no schema: it is put away with the reason, and nobody tries it again. */
export type DeadWake = { transport: Transport["name"]; payload: string; reason: string };

export type TransportCounts = {
  /** Wakes handed to the transport, by what became of them. `dropped`: it was away; the poll finds the work. */
  sent: number;
  dropped: number;
  received: number;
  otherVersion: number;
  dead: number;
};

/**
 * The bell between processes. It carries ids and wakes and is never the authority: what may run is in Postgres, and
 * whoever claims asks there. So it may lose, repeat and reorder; with it away, tasks start by the poll.
 */
export type Transport = {
  readonly name: "postgres" | "redis";
  /** Hands a wake to the other processes: after commit, together with those said at the same time. Never fails or waits. */
  send(wake: Wake): void;
  /** Resolves when what was sent until now has left or was dropped. */
  flushed(): Promise<void>;
  /**
   * Begins to hear. On connecting, and again after every loss, `ready` is called without ids: something may have been
   * missed. One listener per transport; `stop` ends its part and leaves the sending.
   */
  listen(listener: WakeListener): { stop(): Promise<void> };
  /** True while wakes get through as far as is known here. */
  isConnected(): boolean;
  readonly counts: Readonly<TransportCounts>;
  close(): Promise<void>;
};

/** Something may have been missed: look. */
export const lookAround: Wake = { kind: "run_ready", taskIds: [] };

export const noCounts = (): TransportCounts => ({
  sent: 0,
  dropped: 0,
  received: 0,
  otherVersion: 0,
  dead: 0,
});
