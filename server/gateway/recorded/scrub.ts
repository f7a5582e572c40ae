import type { RawRequest } from "./recording-server.ts";

/** A recorded request: no credentials, no paths and ids of a machine, and of long texts only their size. */
export type RecordedRequest = {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: unknown;
};

/** Headers that say what a client asks for; the others are about its machine or its connection. */
const KEPT_HEADERS: ReadonlySet<string> = new Set([
  "anthropic-beta",
  "anthropic-version",
  "content-type",
  "user-agent",
  "x-app",
  "x-stainless-helper",
  "x-stainless-helper-method",
]);

/** Texts of the clients are their makers' own; the test needs their size only. */
const LONG_TEXT_BYTES = 80;
const ID = /\b(?:[0-9a-f]{64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b/g;
const ABSOLUTE_PATH = /(?:\/(?:tmp|root|home|work|var|usr)\/)[\w./-]*/g;

function scrubText(text: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes > LONG_TEXT_BYTES) return `[${bytes} bytes of text]`;
  return text
    .replaceAll(ID, (id) => "0".repeat(id.length))
    .replaceAll(ABSOLUTE_PATH, "/work/notes.txt");
}

function scrubBody(value: unknown): unknown {
  if (typeof value === "string") return scrubText(value);
  if (Array.isArray(value)) return value.map(scrubBody);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, scrubBody(inner)]));
}

/** What of a request may be kept in the repository. */
export function scrub(raw: RawRequest): RecordedRequest {
  const headers = Object.entries(raw.headers).flatMap(([name, value]) =>
    KEPT_HEADERS.has(name) && value !== undefined ? [[name, String(value)] as const] : [],
  );
  return {
    method: raw.method,
    path: raw.path,
    headers: Object.fromEntries(headers),
    body: raw.body === "" ? null : scrubBody(JSON.parse(raw.body)),
  };
}

const PLACEHOLDER = /^\[(\d+) bytes of text\]$/;

function unscrubText(text: string): string {
  const bytes = PLACEHOLDER.exec(text)?.[1];
  return bytes === undefined
    ? text
    : "some text ".repeat(Math.ceil(Number(bytes) / 10)).slice(0, Number(bytes));
}

/** A recorded body with texts of the recorded sizes. */
export function unscrubBody(value: unknown): unknown {
  if (typeof value === "string") return unscrubText(value);
  if (Array.isArray(value)) return value.map(unscrubBody);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unscrubBody(inner)]));
}
