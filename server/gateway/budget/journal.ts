import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/** An answer of the provider as it is kept for a later attempt of the same run. */
export type StoredAnswer = { contentType: string; body: Buffer };

/** Whose answer it is and to what; part of the authenticated data, so a row cannot be moved to another run. */
export type JournalKeyParts = { workspaceId: string; runId: string; requestHash: string };

export type JournalCipher = {
  seal(answer: StoredAnswer, parts: JournalKeyParts): Buffer;
  /** Undefined when the bytes were made with another key, for another call, or are damaged. */
  open(sealed: Buffer, parts: JournalKeyParts): StoredAnswer | undefined;
};

/** Larger answers are not kept: repeating such a call is rarer than the space that keeping them would take. */
export const MAX_JOURNAL_BYTES = 4 * 1024 * 1024;

const FORMAT = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

function associated(parts: JournalKeyParts): Buffer {
  return Buffer.from(`${parts.workspaceId}\n${parts.runId}\n${parts.requestHash}`);
}

/**
 * AES-256-GCM with a random nonce per answer. Layout: format (1 byte), nonce (12), tag (16), cipher text of
 * content-type length (1 byte), content type, body.
 */
export function createJournalCipher(journalKey: string): JournalCipher {
  const key = Buffer.from(hkdfSync("sha256", journalKey, "", "guildhall journal", 32));

  return {
    seal(answer, parts) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      cipher.setAAD(associated(parts));
      const type = Buffer.from(answer.contentType.slice(0, 255), "latin1");
      const text = Buffer.concat([
        cipher.update(Buffer.from([type.length])),
        cipher.update(type),
        cipher.update(answer.body),
        cipher.final(),
      ]);
      return Buffer.concat([Buffer.from([FORMAT]), nonce, cipher.getAuthTag(), text]);
    },
    open(sealed, parts) {
      if (sealed.length <= HEADER_BYTES || sealed[0] !== FORMAT) return undefined;
      const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(1, 1 + NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(associated(parts));
      decipher.setAuthTag(sealed.subarray(1 + NONCE_BYTES, HEADER_BYTES));
      try {
        const text = Buffer.concat([
          decipher.update(sealed.subarray(HEADER_BYTES)),
          decipher.final(),
        ]);
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
