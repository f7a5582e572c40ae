import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { renderError } from "./errors.ts";

/** The client's side of one call. Everything is safe to call when the client has gone. */
export type Client = {
  /** Aborted when the client went away before its answer was complete. */
  gone: AbortSignal;
  begin(status: number, headers: Readonly<Record<string, string>>): void;
  /** Hands bytes on; resolves when the client has room again, or has gone. A client that does not read is let go. */
  write(parts: readonly Buffer[]): Promise<void>;
  end(last?: readonly Buffer[]): void;
  /** Answers with an error: as a JSON body, or as an error event where a stream has begun. */
  fail(error: unknown, headers?: Readonly<Record<string, string>>): void;
};

export type ClientOptions = {
  response: ServerResponse;
  requestId: string;
  /** How long a client may take no bytes. */
  stallMs: number;
  /** Told of every error that the client is answered with. */
  onFailed?(status: number, code: string): void;
};

/** Wraps a response. */
export function createClient(options: ClientOptions): Client {
  const { response, requestId } = options;
  const gone = new AbortController();
  let streaming = false;
  let written = false;
  response.on("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  // The close event tells the same.
  response.on("error", () => gone.abort());

  async function roomAgain(): Promise<void> {
    const stall = setTimeout(() => response.destroy(), options.stallMs);
    try {
      await once(response, "drain", { signal: gone.signal });
    } catch {
      // The client has gone; there is nobody to write to.
    } finally {
      clearTimeout(stall);
    }
  }

  return {
    gone: gone.signal,
    begin(status, headers) {
      if (gone.signal.aborted || response.headersSent) return;
      streaming = headers["content-type"]?.startsWith("text/event-stream") ?? false;
      response.writeHead(status, headers);
      // With the first bytes of the answer, as a rule: a packet of their own costs as much as checking the request.
      if (streaming)
        setImmediate(() => {
          if (!written && !gone.signal.aborted) response.flushHeaders();
        });
    },
    async write(parts) {
      const [first] = parts;
      if (first === undefined || gone.signal.aborted) return;
      written = true;
      // One piece: each would be framed and handed to the system by itself.
      if (!response.write(parts.length === 1 ? first : Buffer.concat(parts))) await roomAgain();
    },
    end(last = []) {
      if (gone.signal.aborted) return;
      written = true;
      for (const part of last) response.write(part);
      response.end();
    },
    fail(error, headers = {}) {
      if (gone.signal.aborted) return;
      const rendered = renderError(error, requestId);
      options.onFailed?.(rendered.status, String(rendered.body.error["code"]));
      const text = JSON.stringify(rendered.body);
      if (response.headersSent) {
        written = true;
        if (streaming) response.end(`event: error\ndata: ${text}\n\n`);
        else response.destroy();
        return;
      }
      response.writeHead(rendered.status, {
        ...headers,
        ...rendered.headers,
        "content-type": "application/json",
        "content-length": Buffer.byteLength(text),
      });
      response.end(text);
    },
  };
}
