import { describe, expect, test } from "vitest";
import { createJournalCipher } from "./journal.ts";

const parts = { workspaceId: "ws_1", runId: "run_1", requestHash: "a".repeat(64) };
const answer = {
  contentType: "text/event-stream; charset=utf-8",
  body: Buffer.from("data: ä\n\n"),
};

describe("stored answers", () => {
  test("an answer comes back as it was", () => {
    const cipher = createJournalCipher("key");
    expect(cipher.open(cipher.seal(answer, parts), parts)).toEqual(answer);
  });

  test("a large answer comes back as it was, and takes a fraction of its room", () => {
    const cipher = createJournalCipher("key");
    const frame = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0}\n\n';
    const large = { ...answer, body: Buffer.from(frame.repeat(80_000)) };
    const sealed = cipher.seal(large, parts);
    expect(large.body.length).toBeGreaterThan(4 * 1024 * 1024);
    expect(sealed.length).toBeLessThan(large.body.length / 10);
    expect(cipher.open(sealed, parts)).toEqual(large);
    const changed = Buffer.from(sealed);
    changed[100] = changed[100]! ^ 1;
    expect(cipher.open(changed, parts)).toBeUndefined();
  });

  test("the stored bytes do not show the answer, and equal answers are stored differently", () => {
    const cipher = createJournalCipher("key");
    const [one, two] = [cipher.seal(answer, parts), cipher.seal(answer, parts)];
    expect(one.includes("data:")).toBe(false);
    expect(one.equals(two)).toBe(false);
  });

  test("another key, another run, another workspace or another request cannot open it", () => {
    const sealed = createJournalCipher("key").seal(answer, parts);
    expect(createJournalCipher("other").open(sealed, parts)).toBeUndefined();
    const cipher = createJournalCipher("key");
    for (const change of [
      { runId: "run_2" },
      { workspaceId: "ws_2" },
      { requestHash: "b".repeat(64) },
    ])
      expect(cipher.open(sealed, { ...parts, ...change })).toBeUndefined();
  });

  test("a changed or shortened byte sequence is refused at every place", () => {
    const cipher = createJournalCipher("key");
    const sealed = cipher.seal(answer, parts);
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] = changed[at]! ^ 1;
      expect(cipher.open(changed, parts)).toBeUndefined();
      expect(cipher.open(sealed.subarray(0, at), parts)).toBeUndefined();
    }
  });
});
