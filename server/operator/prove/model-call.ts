import { Agent, request } from "node:http";

/** How one call of an agent ended. */
export type CallEnd =
  /** To its last frame. */
  | "answered"
  /** The agent hung up. */
  | "aborted"
  /** The gateway died, or was not there, or the answer broke off. */
  | "broken"
  | "budget_exhausted"
  | "budget_reserved"
  /** Any other refusal. */
  | "refused";

export type ModelCall = {
  url: string;
  token: string;
  body: object;
  /** When the agent hangs up; undefined: it listens to the end. */
  abortAfterMs: number | undefined;
};

const LAST_FRAME = "event: message_stop";
const TIMEOUT_MS = 60_000;
const connections = new Agent({ keepAlive: true, maxSockets: Infinity });

function refusalOf(status: number, text: string): CallEnd {
  if (status !== 402) return "refused";
  return text.includes('"budget_reserved"') ? "budget_reserved" : "budget_exhausted";
}

/** A real HTTP request over the loopback interface; never fails. */
export function callModel(call: ModelCall): Promise<CallEnd> {
  return new Promise((resolve) => {
    let aborted = false;
    const finish = (end: CallEnd): void => {
      clearTimeout(timer);
      resolve(aborted ? "aborted" : end);
    };
    const sent = request(`${call.url}/v1/messages`, {
      method: "POST",
      agent: connections,
      headers: { "content-type": "application/json", "x-api-key": call.token },
      timeout: TIMEOUT_MS,
    });
    const hangUp = (): void => {
      aborted = true;
      sent.destroy();
    };
    const timer =
      call.abortAfterMs === undefined ? undefined : setTimeout(hangUp, call.abortAfterMs);
    sent.on("timeout", () => sent.destroy());
    sent.on("error", () => finish("broken"));
    sent.on("response", (response) => {
      let tail = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        tail = (tail + text).slice(-2_000);
      });
      response.on("error", () => finish("broken"));
      response.on("close", () => finish("broken"));
      response.on("end", () => {
        if (response.statusCode === 200) finish(tail.includes(LAST_FRAME) ? "answered" : "broken");
        else finish(refusalOf(response.statusCode ?? 0, tail));
      });
    });
    sent.end(JSON.stringify(call.body));
  });
}
