import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { randomPool } from "../../platform/random-pool.ts";

/** An answer of the provider as it is kept for a later attempt of the same run. */
export type StoredAnswer = { contentType: string; body: Buffer };

/** Whose answer it is and to what; part of the authenticated data, so a row cannot be moved to another run. */
export type JournalKeyParts = { workspaceId: string; runId: string; requestHash: string };

export type JournalCipher = {
  seal(answer: StoredAnswer, parts: JournalKeyParts): Buffer;
  /** Undefined when the bytes were made with another key, for another call, or are damaged. */
  open(sealed: Buffer, parts: JournalKeyParts): StoredAnswer | undefined;
};

/** Larger answers are not kept. The longest that a model gives, streamed in small pieces, has some 6 MB. */
export const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Answers that take more room than this in the database are not kept either. */
export const MAX_SEALED_BYTES = 4 * 1024 * 1024;
/**
 * Streams repeat themselves a lot: a tenth is left of them. What fits a row of the database as it is, is not worth the
 * time; what does not costs the database several times that.
 */
const COMPRESSED_ABOVE_BYTES = 1_536;

const PLAIN = 1;
const COMPRESSED = 2;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

const nextNonce = randomPool(NONCE_BYTES);

function associated(parts: JournalKeyParts): Buffer {
  return Buffer.from(`${parts.workspaceId}\n${parts.runId}\n${parts.requestHash}`);
}

function compressed(text: Buffer): Buffer {
  return zstdCompressSync(text, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
}

/**
 * AES-256-GCM with a random nonce per answer. Layout: format (1 byte), nonce (12), tag (16), cipher text of
 * content-type length (1 byte), content type, body; format 2: of the same, compressed.
 */
export function createJournalCipher(journalKey: string): JournalCipher {
  const key = createSecretKey(
    Buffer.from(hkdfSync("sha256", journalKey, "", "guildhall journal", 32)),
  );

  return {
    seal(answer, parts) {
      const nonce = Buffer.from(nextNonce());
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      cipher.setAAD(associated(parts));
      const type = Buffer.from(answer.contentType.slice(0, 255), "latin1");
      const plain = Buffer.concat([Buffer.from([type.length]), type, answer.body]);
      const large = plain.length > COMPRESSED_ABOVE_BYTES;
      const text = cipher.update(large ? compressed(plain) : plain);
      cipher.final();
      const format = Buffer.from([large ? COMPRESSED : PLAIN]);
      return Buffer.concat([format, nonce, cipher.getAuthTag(), text]);
    },
    open(sealed, parts) {
      const [format] = sealed;
      if (sealed.length <= HEADER_BYTES || (format !== PLAIN && format !== COMPRESSED))
        return undefined;
      const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(1, 1 + NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(associated(parts));
      decipher.setAuthTag(sealed.subarray(1 + NONCE_BYTES, HEADER_BYTES));
      try {
        const opened = decipher.update(sealed.subarray(HEADER_BYTES));
        decipher.final();
        const text =
          format === COMPRESSED
            ? zstdDecompressSync(opened, { maxOutputLength: MAX_ANSWER_BYTES + 1_024 })
            : opened;
        const bodyStart = 1 + (text[0] ?? 0);
        return {
          contentType: text.toString("latin1", 1, bodyStart),
          body: text.subarray(bodyStart),
        };
      } catch {
        return undefined;
      }
    },
  };
}
