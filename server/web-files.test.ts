import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { expectProblem, startTestApi } from "./test/api.ts";

const folder = await mkdtemp(join(tmpdir(), "guildhall-web-"));
await mkdir(join(folder, "assets"));
await writeFile(join(folder, "index.html"), "<!doctype html><title>page</title>");
await writeFile(join(folder, "assets", "app-1a2b.js"), "export {};");
afterAll(() => rm(folder, { recursive: true, force: true }));

const { send } = await startTestApi({ web: { folder } });
const open = (path: string, accept = "text/html,*/*") => send("GET", path, { headers: { accept } });

test.each(["/", "/w/ws_1/tasks/task_1", "/settings/keys?tab=1"])(
  "%s opens the page, under its policy and asked for each time",
  async (path) => {
    const response = await open(path);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("<title>page</title>");
    expect(response.headers.get("content-type")).toContain("text/html");
    expect(response.headers.get("cache-control")).toBe("no-cache");
    expect(response.headers.get("content-security-policy")).toContain("script-src 'self'");
  },
);

test("a built asset is kept by the browser for good", async () => {
  const response = await open("/assets/app-1a2b.js", "*/*");
  expect(await response.text()).toBe("export {};");
  expect(response.headers.get("content-type")).toContain("javascript");
  expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
});

test.each(["/v1/nothing", "/v1", "/docs/nothing", "/socket.io/x"])(
  "%s is not the page, also for a browser",
  async (path) => {
    await expectProblem(await open(path), 404, "not_found");
  },
);

test("a script that misses a file gets an error, not the page", async () => {
  await expectProblem(await open("/assets/gone.js", "*/*"), 404, "not_found");
  await expectProblem(await send("POST", "/w/x", { json: {} }), 404, "not_found");
});

test.each([
  "/../package.json",
  "/..%2f..%2fetc/passwd",
  "/assets/..%2f..%2fx",
  "/%2e%2e/%2e%2e/etc/passwd",
])("%s does not leave the folder", async (path) => {
  const response = await open(path, "*/*");
  expect([400, 403, 404]).toContain(response.status);
});

test("health answers without a credential, and readiness by reaching the database", async () => {
  for (const path of ["/healthz", "/readyz"])
    expect(await (await open(path)).json()).toEqual({ status: "ok" });
});
