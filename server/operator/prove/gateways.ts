import { newId } from "../../platform/ids.ts";
import { z } from "zod";
import { type Child, startChild } from "./child.ts";
import type { GatewaySettings } from "./gateway-process.ts";

/** Gateways in processes of their own, of which one is killed from time to time. */
export type Gateways = {
  /** Where the gateways that are alive listen. */
  urls(): readonly string[];
  /**
   * Kills the one that has lived longest with `kill -9`; another one starts in its place, without being waited for.
   * Does nothing while none is ready.
   */
  killOne(): Promise<void>;
  killed(): number;
  close(): Promise<void>;
};

type Place = { child: Child; url: string; processId: string };

const SCRIPT = new URL("gateway-process.ts", import.meta.url);

/** Starts them. `onEnded` is told of each gateway that was seen to end. */
export async function startGateways(options: {
  count: number;
  settings: Omit<GatewaySettings, "processId">;
  cacheDir: string;
  onEnded(processId: string): Promise<void>;
  /** A gateway that should take the place of a killed one did not start. */
  onFailed(error: unknown): void;
}): Promise<Gateways> {
  let places: readonly Place[] = [];
  let killed = 0;
  let closed = false;
  const starting = new Set<Promise<void>>();

  async function start(): Promise<void> {
    const processId = newId("wrk");
    const child = await startChild({
      script: SCRIPT,
      settings: { ...options.settings, processId },
      cacheDir: options.cacheDir,
    });
    const { url } = z.object({ url: z.string() }).parse(child.ready);
    if (closed) await child.kill();
    else places = [...places, { child, url, processId }];
  }

  function startAnother(): void {
    const started = start()
      .catch((error: unknown) => options.onFailed(error))
      .finally(() => starting.delete(started));
    starting.add(started);
  }

  await Promise.all(Array.from({ length: options.count }, start));
  return {
    urls: () => places.map((place) => place.url),
    async killOne() {
      const [oldest, ...others] = places;
      if (oldest === undefined) return;
      places = others;
      startAnother();
      await oldest.child.kill();
      killed += 1;
      await options.onEnded(oldest.processId);
    },
    killed: () => killed,
    async close() {
      closed = true;
      await Promise.all([...starting, ...places.map((place) => place.child.kill())]);
    },
  };
}
