import { ConnectionError, retryAfterMs, toGuildhallError } from "./errors.ts";

export type ClientOptions = {
  /** Origin of the API, for example `http://127.0.0.1:4000`. */
  baseUrl: string;
  /** API key or access token; a function is asked before each request. */
  token: string | (() => string | Promise<string>);
  /** Most tries of a request that may be repeated. Default 3. */
  tries?: number;
};

export type RequestOptions = {
  query?: Readonly<Record<string, string | number | undefined>>;
  json?: unknown;
  body?: FormData;
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
  /** True when a repetition has no second effect: reads, and writes with an idempotency key. */
  repeatable?: boolean;
};

export type Http = {
  /** Sends and answers the response when it is 2xx. Throws `GuildhallError` or `ConnectionError`. */
  send(method: string, path: string, options?: RequestOptions): Promise<Response>;
  /** The same, with the JSON body; its shape is the contract's, which the server is tested against. */
  json<T>(method: string, path: string, options?: RequestOptions): Promise<T>;
};

const RETRIED_STATUS = new Set([429, 502, 503, 504]);

const LONGEST_PAUSE_MS = 20_000;

/**
 * How long to wait before the next try, milliseconds: what `Retry-After` asks for, otherwise twice as long after each
 * failed try, at most 20 s. Undefined: the server asks for more patience than a caller who waits should need.
 */
export function retryPauseMs(options: {
  retryAfter: string | null;
  failedTries: number;
  nowMs: number;
}): number | undefined {
  const askedMs = retryAfterMs(options.retryAfter, options.nowMs);
  if (askedMs !== undefined && askedMs > LONGEST_PAUSE_MS) return undefined;
  return askedMs ?? Math.min(LONGEST_PAUSE_MS, 200 * 2 ** options.failedTries);
}

/** Ends early, with the reason, when the request is no longer wanted. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      // What an AbortController gives as its reason is an error unless its owner chose otherwise.
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}

function buildUrl(baseUrl: string, path: string, query: RequestOptions["query"]): URL {
  const url = new URL(path, baseUrl);
  for (const [name, value] of Object.entries(query ?? {}))
    if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}

/** Fetch with credentials, problem documents as errors, and patient repetition of what may be repeated. */
export function createHttp(options: ClientOptions): Http {
  async function attempt(method: string, url: URL, request: RequestOptions): Promise<Response> {
    const token = typeof options.token === "string" ? options.token : await options.token();
    const headers = new Headers(request.headers);
    headers.set("authorization", `Bearer ${token}`);
    if (request.json !== undefined) headers.set("content-type", "application/json");
    const body = request.body ?? (request.json === undefined ? null : JSON.stringify(request.json));
    return fetch(url, { method, headers, body, signal: request.signal ?? null });
  }

  async function send(
    method: string,
    path: string,
    request: RequestOptions = {},
  ): Promise<Response> {
    const url = buildUrl(options.baseUrl, path, request.query);
    const tries = (request.repeatable ?? method === "GET") ? (options.tries ?? 3) : 1;
    for (let n = 1; ; n++) {
      const response = await attempt(method, url, request).catch((error: unknown) => {
        if (request.signal?.aborted || n >= tries) {
          if (request.signal?.aborted) throw error;
          throw new ConnectionError(`${url.origin} cannot be reached.`, { cause: error });
        }
        return undefined;
      });
      if (response?.ok) return response;
      const retryAfter = response?.headers.get("retry-after") ?? null;
      const pauseMs = retryPauseMs({ retryAfter, failedTries: n, nowMs: Date.now() });
      const isOver = n >= tries || pauseMs === undefined;
      if (response && (isOver || !RETRIED_STATUS.has(response.status)))
        throw await toGuildhallError(response);
      await response?.body?.cancel();
      await pause(pauseMs ?? 0, request.signal);
    }
  }

  return {
    send,
    async json<T>(method: string, path: string, request: RequestOptions = {}): Promise<T> {
      const response = await send(method, path, request);
      const body: unknown = await response.json().catch((error: unknown) => {
        if (request.signal?.aborted) throw error;
        const { origin } = new URL(options.baseUrl);
        throw new ConnectionError(`What answers at ${origin} is not Guildhall.`, { cause: error });
      });
      return body as T;
    },
  };
}
