import type { IncomingMessage } from "node:http";
import type { AppError } from "../../platform/errors.ts";
import { gatewayError, invalidRequest } from "../errors.ts";

/** The provider's own limit. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;
/** All bodies that are being read or parsed at one time. */
const MAX_OPEN_BYTES = 512 * 1024 * 1024;

export type BodyResult =
  | { status: "read"; bytes: Buffer; release(): void }
  | { status: "refused"; error: AppError }
  | { status: "gone" }
  /** The gateway had to stop before the end of the body came. */
  | { status: "stopped" };

export type BodyReader = (request: IncomingMessage, shutdown: AbortSignal) => Promise<BodyResult>;

function headerFault(request: IncomingMessage): AppError | undefined {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity")
    return invalidRequest("content-encoding", "compressed bodies are not accepted");
  const type = request.headers["content-type"];
  if (type !== undefined && !/^application\/json\s*(;|$)/i.test(type))
    return invalidRequest("content-type", "must be application/json");
  return undefined;
}

function tooLarge(): AppError {
  return gatewayError({
    status: 413,
    code: "request_too_large",
    message: "The request body is larger than 32 MB.",
  });
}

function busy(): AppError {
  return gatewayError({
    status: 503,
    code: "gateway_busy",
    message: "The gateway is reading too many large requests at once. Try again.",
    retryAfterMs: 1_000,
  });
}

/** Reads request bodies of up to 32 MB, and not more at once than the process can hold. */
export function createBodyReader(): BodyReader {
  let openBytes = 0;

  return async function readBody(request, shutdown) {
    const fault = headerFault(request);
    if (fault) return { status: "refused", error: fault };
    const announced = Number(request.headers["content-length"] ?? 0);
    if (announced > MAX_BODY_BYTES) return { status: "refused", error: tooLarge() };
    const chunks: Buffer[] = [];
    let bytes = 0;
    const release = (): void => {
      openBytes -= bytes;
      bytes = 0;
    };
    return new Promise<BodyResult>((resolve) => {
      const refuse = (result: BodyResult): void => {
        request.off("data", take);
        shutdown.removeEventListener("abort", stop);
        release();
        resolve(result);
      };
      const gone = (): void => refuse({ status: "gone" });
      const stop = (): void => refuse({ status: "stopped" });
      function take(chunk: Buffer): void {
        bytes += chunk.length;
        openBytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MAX_BODY_BYTES) refuse({ status: "refused", error: tooLarge() });
        else if (openBytes > MAX_OPEN_BYTES) refuse({ status: "refused", error: busy() });
      }
      function end(): void {
        request.off("error", gone).off("close", gone);
        shutdown.removeEventListener("abort", stop);
        resolve({ status: "read", bytes: Buffer.concat(chunks), release });
      }
      // Listeners, not its iterator, which costs more than reading and parsing an ordinary request.
      request.on("data", take).once("end", end).once("error", gone).once("close", gone);
      shutdown.addEventListener("abort", stop, { once: true });
      if (shutdown.aborted) stop();
    });
  };
}
