import { request } from "node:http";
import { expect, it, onTestFinished } from "vitest";
import { createHttp, type Http } from "../platform/http.ts";
import { createLogger } from "../platform/log.ts";
import { Secret } from "../platform/secret.ts";
import { addMetricsRoute, isLocalOnly, type MetricsAccess } from "./metrics-route.ts";

async function startWith(access: MetricsAccess): Promise<number> {
  const app: Http = await createHttp({
    log: createLogger({ level: "silent" }),
    config: { PUBLIC_URL: undefined },
  });
  const metrics = { contentType: "text/plain; version=0.0.4", text: async () => "up 1\n" };
  addMetricsRoute(app, { metrics, access });
  const address = await app.listen({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => app.close());
  return Number(new URL(address).port);
}

function ask(port: number, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const sent = request({ port, host: "127.0.0.1", path: "/metrics", headers }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

it("without a token only a direct request of this machine is answered", async () => {
  const port = await startWith({ token: undefined, localOnly: true });
  expect(await ask(port)).toEqual({ status: 200, text: "up 1\n" });
  for (const headers of [
    { host: "guildhall.example" },
    { host: "127.0.0.1.example" },
    { "x-forwarded-for": "203.0.113.9" },
    { forwarded: "for=203.0.113.9" },
    { via: "1.1 proxy" },
  ] as Record<string, string>[])
    expect(await ask(port, headers)).toMatchObject({ status: 404 });
});

it("without a token nothing is answered where others may be behind a local request", async () => {
  expect(isLocalOnly({ HOST: "127.0.0.1", NODE_ENV: "development" })).toBe(true);
  for (const config of [
    { HOST: "0.0.0.0" },
    { HOST: "127.0.0.1", PUBLIC_URL: "https://guildhall.example" },
    { HOST: "127.0.0.1", NODE_ENV: "production" },
    {},
  ])
    expect(isLocalOnly(config)).toBe(false);
  expect(await ask(await startWith({ token: undefined, localOnly: false }))).toMatchObject({
    status: 404,
  });
});

it("with a token it is asked of everybody, also on this machine", async () => {
  const port = await startWith({ token: new Secret("a token for metrics"), localOnly: true });
  expect(await ask(port)).toMatchObject({ status: 401 });
  expect(await ask(port, { authorization: "Bearer another" })).toMatchObject({ status: 401 });
  expect(
    await ask(port, {
      authorization: "Bearer a",
    }),
  ).toMatchObject({ status: 401 });
});

it("the right token is let in from anywhere", async () => {
  const port = await startWith({ token: new Secret("a-token-for-metrics"), localOnly: false });
  const headers = { authorization: "Bearer a-token-for-metrics", host: "guildhall.example" };
  expect(await ask(port, headers)).toMatchObject({ status: 200 });
});
