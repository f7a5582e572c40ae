import { createHmac, hash, timingSafeEqual } from "node:crypto";
import { inspect } from "node:util";

/**
 * A value that must not be printed. Logging, JSON and string interpolation all show `***`; the only way to the text is
 * `reveal()`, which is easy to find in review.
 */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return "***";
  }

  toJSON(): string {
    return "***";
  }

  [inspect.custom](): string {
    return "***";
  }
}

/** SHA-256 as lower-case hex. Right for random 256-bit tokens, wrong for passwords. */
export function sha256Hex(data: string | Uint8Array): string {
  return hash("sha256", data);
}

/** A key for one purpose, derived from the installation's secret (HMAC-SHA-256), as 43 URL-safe characters. */
export function deriveSecret(root: Secret, purpose: string): string {
  return createHmac("sha256", root.reveal()).update(purpose).digest("base64url");
}

/** Compares two hex digests without telling by timing where they differ. */
export function sameDigest(a: string, b: string): boolean {
  const left = Buffer.from(a, "hex");
  const right = Buffer.from(b, "hex");
  return left.length === right.length && left.length > 0 && timingSafeEqual(left, right);
}
