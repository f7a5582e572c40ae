import { Agent, request } from "undici";

/** A server of the Messages protocol under load. */
export type Target = {
  name: string;
  url: string;
  /** What call number n authenticates and steers with. */
  headersOf(n: number): Readonly<Record<string, string>>;
};

export type CallShape = {
  stream: boolean;
  /** Pause between two events of a stream; 0 is none. */
  paceMs?: number;
  maxTokens?: number;
  /** Further words that steer the provider. */
  words?: string;
};

export type CallResult = {
  status: number;
  /** Milliseconds from the start of the request to the first byte of the answer's body. */
  firstByteMs: number;
  body: string;
};

export type Load = {
  call(target: Target, n: number, shape: CallShape): Promise<CallResult>;
  close(): Promise<void>;
};

/** The one load generator for all targets. Its connections are kept alive. */
export function createLoad(options: { connections: number }): Load {
  const agent = new Agent({ connections: options.connections, headersTimeout: 60_000 });
  return {
    async call(target, n, { stream, paceMs = 0, maxTokens = 64, words = "" }) {
      const begun = performance.now();
      const response = await request(`${target.url}/v1/messages`, {
        method: "POST",
        dispatcher: agent,
        headers: {
          "content-type": "application/json",
          "anthropic-version": "2023-06-01",
          ...target.headersOf(n),
        },
        // No two are alike: equal calls of one run are numbered against each other, which real runs hardly need.
        body: JSON.stringify({
          model: MODEL,
          max_tokens: maxTokens,
          stream,
          messages: [
            { role: "user", content: `Say a few words. ${n} bench-pace-${paceMs}-ms ${words}` },
          ],
        }),
      });
      let firstByteMs = Number.NaN;
      const chunks: Buffer[] = [];
      for await (const chunk of response.body) {
        if (chunks.length === 0) firstByteMs = performance.now() - begun;
        chunks.push(chunk as Buffer);
      }
      return { status: response.statusCode, firstByteMs, body: Buffer.concat(chunks).toString() };
    },
    close: () => agent.destroy(),
  };
}

/** A model that every peer has a price for. */
export const MODEL = "claude-sonnet-4-5";

/** How many events of the protocol a stream's body has. */
export const eventsIn = (body: string): number => body.match(/^event: /gm)?.length ?? 0;
