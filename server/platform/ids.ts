import { randomBytes } from "node:crypto";

/** Every id says what it names. The prefix is part of the id everywhere: database, API, page, log. */
export type IdPrefix =
  | "ws"
  | "ba"
  | "usr"
  | "key"
  | "fam"
  | "agt"
  | "upl"
  | "task"
  | "run"
  | "art"
  | "hold"
  | "line"
  | "msg"
  | "thr"
  | "qst"
  | "req"
  | "wrk";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

function base32(value: bigint, length: number): string {
  let rest = value;
  let text = "";
  for (let i = 0; i < length; i++) {
    text = ALPHABET.charAt(Number(rest & 31n)) + text;
    rest >>= 5n;
  }
  return text;
}

/**
 * A new id: `<prefix>_` and 26 characters of Crockford base32 in ULID layout (48 bits of milliseconds, then 80 random
 * bits). Sorting by id is sorting by creation time, so indexes on ids grow at one end only.
 */
export function newId(prefix: IdPrefix, nowMs: number = Date.now()): string {
  const random = BigInt(`0x${randomBytes(10).toString("hex")}`);
  return `${prefix}_${base32(BigInt(nowMs), 10)}${base32(random, 16)}`;
}

/** No id of that kind that was made at `nowMs` or later sorts before this. */
export function leastIdAt(prefix: IdPrefix, nowMs: number): string {
  return `${prefix}_${base32(BigInt(nowMs), 10)}${"0".repeat(16)}`;
}

/** 256 random bits as 43 URL-safe characters: for tokens and keys that are shown once and stored only as a hash. */
export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}
