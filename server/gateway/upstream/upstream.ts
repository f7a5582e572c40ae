import { type Dispatcher, Pool } from "undici";
import type { Secret } from "../../platform/secret.ts";
import { type AnswerBody, type AnswerSource, createAnswerSource } from "./answer-body.ts";

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
      body: AnswerBody;
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
  const pool = new Pool(base.origin, {
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
    send(request) {
      return new Promise((resolve) => {
        // undici says that a request starts only once it is connected and about to write: before that nothing was sent.
        let sending = false;
        let source: AnswerSource | undefined;
        let connection: Dispatcher.DispatchController | undefined;
        const failed = (cause: unknown): void =>
          resolve({ status: sending ? "unknown" : "not_sent", cause });
        const { signal } = request;
        const stop = (): void => {
          failed(signal.reason);
          connection?.abort(signal.reason as Error);
        };
        if (signal.aborted) return stop();
        signal.addEventListener("abort", stop, { once: true });
        pool.dispatch(
          {
            path: `${prefix}${request.path}`,
            method: "POST",
            headers: headersOf(request),
            body: request.body,
          },
          {
            onRequestStart(controller) {
              // Its caller has been told that nothing was sent; or it would be sent a second time.
              if (signal.aborted || sending) return controller.abort(new Error("not to be sent"));
              sending = true;
              connection = controller;
            },
            onResponseStart(controller, statusCode, headers) {
              // An interim answer; the real one follows.
              if (statusCode < 200) return;
              source = createAnswerSource(controller);
              resolve({ status: "answered", statusCode, headers, body: source.body });
            },
            onResponseData: (_controller, chunk) => source?.push(chunk),
            onResponseEnd: () => source?.end(),
            onResponseError(_controller, error) {
              source?.fail(error);
              failed(error);
            },
          },
        );
      });
    },
    withoutKey(text) {
      const secret = key?.reveal() ?? "";
      return secret.length < 4 ? text : text.replaceAll(secret, "***");
    },
    close: () => pool.destroy(),
  };
}
