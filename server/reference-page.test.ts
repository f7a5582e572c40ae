import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { errorCatalogue } from "./openapi-errors.ts";
import { startTestApi } from "./test/api.ts";

const { send } = await startTestApi();

/** Everything in a page that the browser would fetch by itself. */
function loaded(html: string): string[] {
  return [
    ...html.matchAll(/<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="([^"]*)"/g),
  ].map((match) => match[1]!);
}

test("the reference page loads its script from this server and names no other", async () => {
  expect((await send("GET", "/docs/api")).headers.get("location")).toBe("/docs/api/");
  const response = await send("GET", "/docs/api/");
  expect(response.status).toBe(200);
  const html = await response.text();
  expect(html).not.toMatch(/https?:\/\//);
  expect(html).not.toMatch(/["'(]\/\//);
  expect(html).toContain('"url": "/v1/openapi.json"');
  expect(loaded(html)).toEqual(["js/scalar.js"]);
  const script = await send("GET", "/docs/api/js/scalar.js");
  expect(script.status).toBe(200);
  expect(script.headers.get("content-type")).toContain("application/javascript");
  expect((await script.text()).length).toBeGreaterThan(100_000);
});

test("what the page could reach out for is off, and its policy forbids it besides", async () => {
  const response = await send("GET", "/docs/api/");
  const html = await response.text();
  for (const off of ['"withDefaultFonts": false', '"telemetry": false', '"disabled": true'])
    expect(html).toContain(off);
  const policy = response.headers.get("content-security-policy")!;
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("connect-src 'self';");
  expect(policy).toContain("font-src 'self';");
  expect(policy).not.toMatch(/https?:|\*/);
});

test("only the page's own inline script may run, by its hash", async () => {
  const response = await send("GET", "/docs/api/");
  const html = await response.text();
  const [, script = ""] = /<script type="text\/javascript">([\s\S]*?)<\/script>/.exec(html)!;
  const hash = createHash("sha256").update(script).digest("base64");
  const policy = response.headers.get("content-security-policy")!;
  expect(/script-src ([^;]*)/.exec(policy)![1]).toBe(`'self' 'sha256-${hash}'`);
});

test("the page of error codes explains each, without a script", async () => {
  const response = await send("GET", "/docs/errors");
  expect(response.headers.get("content-type")).toContain("text/html");
  const html = await response.text();
  expect(html).not.toContain("<script");
  for (const code of Object.keys(errorCatalogue)) expect(html).toContain(`<dt id="${code}">`);
});
