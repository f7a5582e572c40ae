import type { Readable } from "node:stream";
import { Agent, type Dispatcher } from "undici";
import type { Secret } from "../../platform/secret.ts";

export type UpstreamOptions = {
  /** Origin of a server of the Messages protocol, with or without a path before `/v1`. */
  baseUrl: string;
  apiKey?: Secret;
};

export type UpstreamRequest = {
  path: "/v1/messages" | "/v1/messages/count_tokens";
  body: Buffer;
  version: string;
  betas: readonly string[];
  /** Our own name of the request, by which it can be found in a usage report although no answer came. */
  clientRequestId?: string;
  signal: AbortSignal;
};

export type UpstreamAnswer =
  | {
      status: "answered";
      statusCode: number;
      headers: Readonly<Record<string, string | string[] | undefined>>;
      body: Readable;
    }
  /** No byte of the body left this machine: the provider cannot have billed anything. */
  | { status: "not_sent"; cause: unknown }
  /** The request left, and what became of it is not known. */
  | { status: "unknown"; cause: unknown };

export type Upstream = {
  send(request: UpstreamRequest): Promise<UpstreamAnswer>;
  /** Takes the provider's key out of a text, should the provider ever repeat it. */
  withoutKey(text: string): string;
  close(): Promise<void>;
};

const CONNECT_TIMEOUT_MS = 10_000;

/** The only place that sees the provider's key. Redirects are not followed: the key goes to one origin. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const base = new URL(options.baseUrl);
  const prefix = base.pathname.replace(/\/+$/, "");
  const key = options.apiKey;
  // No timeouts of its own: the call has one deadline and one limit of silence, kept by the gateway with its own timers.
  const agent = new Agent({
    allowH2: false,
    bodyTimeout: 0,
    headersTimeout: 0,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  });

  function headersOf(request: UpstreamRequest): Record<string, string> {
    return {
      "content-type": "application/json",
      "content-length": String(request.body.length),
      "anthropic-version": request.version,
      "accept-encoding": "identity",
      "user-agent": "guildhall-gateway",
      ...(request.betas.length === 0 ? {} : { "anthropic-beta": request.betas.join(",") }),
      ...(request.clientRequestId === undefined
        ? {}
        : { "x-client-request-id": request.clientRequestId }),
      ...(key === undefined ? {} : { "x-api-key": key.reveal() }),
    };
  }

  return {
    async send(request) {
      let sending = false;
      // undici takes the body from here only once it is connected and about to write: before that nothing was sent.
      async function* bodyOnce(): AsyncGenerator<Buffer> {
        sending = true;
        yield request.body;
      }
      const dispatch: Dispatcher.RequestOptions = {
        origin: base.origin,
        path: `${prefix}${request.path}`,
        method: "POST",
        headers: headersOf(request),
        body: bodyOnce() as unknown as NonNullable<Dispatcher.RequestOptions["body"]>,
        signal: request.signal,
      };
      try {
        const { statusCode, headers, body } = await agent.request(dispatch);
        // Its readers see the error; a body that is only let go must not bring the process down.
        body.on("error", () => {});
        return { status: "answered", statusCode, headers, body };
      } catch (cause) {
        return { status: sending ? "unknown" : "not_sent", cause };
      }
    },
    withoutKey(text) {
      const secret = key?.reveal() ?? "";
      return secret.length < 4 ? text : text.replaceAll(secret, "***");
    },
    close: () => agent.destroy(),
  };
}
