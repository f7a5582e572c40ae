import type { OwnProcess } from "../processes.ts";
import { startPortkey } from "./portkey.ts";
import type { Target } from "./target.ts";

export type Peer = OwnProcess & { target: Target };

/** The peers that can be had here; of one that cannot, it is said why. */
export async function startPeers(upstreamUrl: string): Promise<Peer[]> {
  const peers: Peer[] = [];
  for (const [name, start] of [["Portkey gateway", startPortkey]] as const) {
    try {
      peers.push(await start(upstreamUrl));
    } catch (error) {
      console.log(`SKIPPED: ${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return peers;
}
