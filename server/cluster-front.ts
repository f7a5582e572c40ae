import { type Balancer, createBalancer, type RenderFailure } from "./platform/balancer/balancer.ts";
import { closeAll } from "./platform/close-all.ts";
import type { Config } from "./platform/config.ts";
import { AppError } from "./platform/errors.ts";
import { PROBLEM_TYPE, toProblem } from "./platform/http-errors.ts";
import { newId } from "./platform/ids.ts";
import { orPortBusy } from "./role-parts.ts";

export const LOCAL_HOST = "127.0.0.1";
const EVERY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

function failureOf(status: 502 | 503): AppError {
  return new AppError({
    code: status === 503 ? "no_process_ready" : "process_ended",
    status,
    publicMessage:
      status === 503
        ? "No process is ready to answer."
        : "The process that had the request has ended; whether it was done is not known.",
    hint: "Try again in a few seconds; a request with an Idempotency-Key is done once.",
    retryAfterMs: 1_000,
    retryable: true,
  });
}

const problemFailure: RenderFailure = (status) => ({
  contentType: PROBLEM_TYPE,
  body: JSON.stringify(toProblem(failureOf(status), newId("req"))),
});

/** In the shape of the Messages protocol. */
const messagesFailure: RenderFailure = (status) => {
  const { code, publicMessage } = failureOf(status);
  return {
    contentType: "application/json",
    body: JSON.stringify({
      type: "error",
      error: { type: "api_error", code, message: publicMessage },
    }),
  };
};

export type Front = {
  pages: Balancer;
  calls: Balancer;
  /** Where people reach the page. */
  url: string;
  /** Where workers and programs reach a gateway. */
  gatewayUrl: string;
  close(): Promise<void>;
};

/** Listens where people and programs come, before there is anybody to answer. */
export async function openFront({ HOST: host, PORT, GATEWAY_PORT }: Config): Promise<Front> {
  const pages = createBalancer({ renderFailure: problemFailure });
  const calls = createBalancer({ renderFailure: messagesFailure });
  const close = (): Promise<void> => closeAll([() => pages.close(), () => calls.close()]);
  const named = EVERY_ADDRESS.has(host) ? LOCAL_HOST : host;
  const origin = (port: number): string =>
    new URL(`http://${named.includes(":") ? `[${named}]` : named}:${port}`).origin;
  try {
    const page = await orPortBusy({ port: PORT, variable: "PORT" }, () =>
      pages.listen({ port: PORT, host }),
    );
    const call = await orPortBusy({ port: GATEWAY_PORT, variable: "GATEWAY_PORT" }, () =>
      calls.listen({ port: GATEWAY_PORT, host }),
    );
    return { pages, calls, url: origin(page.port), gatewayUrl: origin(call.port), close };
  } catch (error) {
    await close();
    throw error;
  }
}
