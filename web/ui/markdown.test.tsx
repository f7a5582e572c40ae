import fc from "fast-check";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { Markdown } from "./markdown.tsx";
import { safeLink } from "./safe-link.ts";

const html = (text: string) => renderToStaticMarkup(<Markdown text={text} />);

/** Tags and attributes that the closed list can make; anything else came from the text itself. */
const ownTags =
  /^(?:div|p|h[3-6]|strong|em|del|code|pre|br|hr|blockquote|ul|ol|li|input|a|span|table|thead|tbody|tr|th|td)$/;
const ownAttributes =
  /^(?:class|href|target|rel|title|start|type|disabled|readOnly|checked|tabindex)$/i;

function expectOnlyOwnMarkup(markup: string): void {
  for (const [, name, attributes] of markup.matchAll(/<([a-z][^\s/>]*)((?:\s[^>]*)?)\/?>/gi)) {
    expect(name).toMatch(ownTags);
    for (const [, attribute] of (attributes ?? "").matchAll(/\s([^\s=/]+)(?:="[^"]*")?/g)) {
      expect(attribute).toMatch(ownAttributes);
    }
  }
  for (const [, href] of markup.matchAll(/href="([^"]*)"/g)) {
    expect(href).toMatch(/^(?:https?|mailto):/);
  }
}

describe("Markdown", () => {
  it.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "text <b onclick=alert(1)>bold</b>",
    "<svg><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:x)",
    "![x](javascript:alert(1))",
    "![x](https://tracker.example/pixel.png)",
    "<https://a@b>",
    "[x](https://user:secret@example.org)",
    "[x]: javascript:alert(1)\n\n[x]",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "- [x] <iframe src=//evil.example>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
  ])("makes no element and no address of its own from %j", (text) => {
    const markup = html(text);
    expectOnlyOwnMarkup(markup);
    expect(markup).not.toMatch(/<img|<script|<svg|<iframe/);
  });

  it("makes only known elements from any text", () => {
    const piece = fc.constantFrom(
      ..."<>\"'`[]()!*_~#|-:\n \\&;=/".split(""),
      "<script>",
      "javascript:",
      "onerror=",
      "](",
      "```",
      "a",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        expectOnlyOwnMarkup(html(pieces.join("")));
      }),
      { numRuns: 500 },
    );
  });

  it("draws headings, lists, tables and code", () => {
    const markup = html(
      "# A\n\n- b\n- **c**\n\n| d | e |\n|---|---|\n| 1 | `2` |\n\n```\nf < g\n```\n",
    );
    expect(markup).toContain("<h3");
    expect(markup).toContain("<li>b</li><li><strong>c</strong></li>");
    expect(markup).toContain("<td><code>2</code></td>");
    expect(markup).toContain("f &lt; g");
  });

  it("shows a text that is nested past all reason instead of failing", () => {
    expect(html(">".repeat(20_000))).toContain("&gt;");
  });
});

describe("safeLink", () => {
  it.each(["https://example.org/a?b#c", "http://localhost:4000/", "mailto:a@example.org"])(
    "lets %j through",
    (href) => {
      expect(safeLink(href)).toBe(href);
    },
  );

  it.each([
    "javascript:alert(1)",
    " java\nscript:alert(1)",
    "/v1/tasks",
    "//evil.example",
    "file:///x",
    "blob:x",
  ])("refuses %j", (href) => {
    expect(safeLink(href)).toBeUndefined();
  });
});
