import { startLitellm } from "./litellm.ts";
import type { Peer } from "./peer.ts";
import { startPortkey } from "./portkey.ts";

const starts = { "the Portkey gateway": startPortkey, LiteLLM: startLitellm };

/** The peers that can be had here; of one that cannot, it is said why. */
export async function startPeers(upstreamUrl: string): Promise<Peer[]> {
  const peers: Peer[] = [];
  for (const [name, start] of Object.entries(starts)) {
    try {
      peers.push(await start(upstreamUrl));
    } catch (error) {
      console.log(`SKIPPED: ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  return peers;
}
