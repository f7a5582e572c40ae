import type { IncomingMessage } from "node:http";

/** About one connection, not about what it carries. */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-connection", "expect"]);

/** The header fields of a message, name and value in turn, without those of the connection that it came on. */
export function passedOn(
  rawHeaders: readonly string[],
  leaveOut: readonly string[] = [],
): string[] {
  const passed: string[] = [];
  for (let n = 0; n + 1 < rawHeaders.length; n += 2) {
    const [name = "", value = ""] = rawHeaders.slice(n, n + 2);
    const key = name.toLowerCase();
    if (!HOP_BY_HOP.has(key) && !leaveOut.includes(key)) passed.push(name, value);
  }
  return passed;
}

/** What a request is passed on with: its own fields, and whom it came from. */
export function requestHead(request: IncomingMessage): string[] {
  const before = request.headers["x-forwarded-for"];
  const chain = [before ?? [], request.socket.remoteAddress ?? "unknown"].flat().join(", ");
  return [...passedOn(request.rawHeaders, ["x-forwarded-for"]), "X-Forwarded-For", chain];
}

/** True when nothing is lost by asking once more: it changes nothing, and has no body that is gone by then. */
export function isRepeatable(request: IncomingMessage): boolean {
  const hasBody =
    request.headers["transfer-encoding"] !== undefined ||
    (request.headers["content-length"] ?? "0") !== "0";
  return !hasBody && ["GET", "HEAD", "OPTIONS"].includes(request.method ?? "");
}
