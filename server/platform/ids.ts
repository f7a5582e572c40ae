import { randomBytes } from "node:crypto";
import { randomPool } from "./random-pool.ts";

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

/** The lowest `length` digits of a whole number below 2^53. */
function base32(value: number, length: number): string {
  let rest = value;
  let text = "";
  for (let i = 0; i < length; i++) {
    text = ALPHABET.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

/** Ids are made on the gateway's hot path. */
const nextBits = randomPool(10);

/** 80 random bits, each given out once. */
function randomDigits(): string {
  const bits = nextBits();
  return base32(bits.readUIntBE(0, 5), 8) + base32(bits.readUIntBE(5, 5), 8);
}

/**
 * A new id: `<prefix>_` and 26 characters of Crockford base32 in ULID layout (48 bits of milliseconds, then 80 random
 * bits). Sorting by id is sorting by creation time, so indexes on ids grow at one end only.
 */
export function newId(prefix: IdPrefix, nowMs: number = Date.now()): string {
  return `${prefix}_${base32(nowMs, 10)}${randomDigits()}`;
}

/** Every id in a text. */
export const idsIn = new RegExp(`\\b[a-z]{2,4}_[${ALPHABET}]{26}\\b`, "g");

/** No id of that kind that was made at `nowMs` or later sorts before this. */
export function leastIdAt(prefix: IdPrefix, nowMs: number): string {
  return `${prefix}_${base32(nowMs, 10)}${"0".repeat(16)}`;
}

/** 256 random bits as 43 URL-safe characters: for tokens and keys that are shown once and stored only as a hash. */
export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}
