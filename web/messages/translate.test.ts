import { describe, expect, it } from "vitest";
import { en } from "./en.ts";
import { t } from "./translate.ts";

describe("messages", () => {
  it("chooses the form by the count and fills in what is named", () => {
    expect(t("files.sum", { count: 1, size: "1 B" })).toBe("1 file, 1 B");
    expect(t("files.sum", { count: 2, size: "9 B" })).toBe("2 files, 9 B");
    expect(t("transcript.jumpNew", { count: 0 })).toBe("Jump to latest (0 new)");
  });

  it("never fills in what a value itself seems to name", () => {
    expect(t("news.failed", { title: "{cause}", cause: "loop" })).toBe("Failed: {cause}. loop");
  });

  it("refuses a message that is asked for without its names", () => {
    // @ts-expect-error -- a name is missing, and the compiler must see it
    expect(t("office.bubble.error", {})).toBe("Failed: {cause}");
  });

  it("has no empty text and no text for others than the user", () => {
    for (const message of Object.values(en)) {
      for (const text of typeof message === "string" ? [message] : Object.values(message)) {
        expect(text.trim()).not.toBe("");
        expect(text).not.toMatch(/oops|TODO/i);
      }
    }
  });
});
