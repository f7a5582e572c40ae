import type { IncomingMessage } from "node:http";

const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** What came with a request: its text, too much of it, or a client that went away. */
type Body = { state: "complete"; text: string } | { state: "too_large" } | { state: "aborted" };

/** Reads a body of up to 32 MB. More is read to its end and thrown away, so that the refusal can be heard. */
export async function readBody(req: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of req as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
      else chunks.length = 0;
    }
  } catch {
    return { state: "aborted" };
  }
  return bytes > MAX_BODY_BYTES
    ? { state: "too_large" }
    : { state: "complete", text: Buffer.concat(chunks).toString("utf8") };
}

/** Parses JSON; undefined when it is none. */
export function parseJson(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}
