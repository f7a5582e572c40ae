import { expect } from "vitest";

/** What a request was answered with. */
export type Answer = {
  status: number;
  /** Seconds; NaN when the header is missing. */
  retryAfter: number;
  type: string;
  body: unknown;
};

export type Ask = { url: string; key: string; json?: unknown };

/** One request with no retry of a client's. Rejects when it was not answered at all. */
export async function ask({ url, key, json }: Ask): Promise<Answer> {
  const response = await fetch(url, {
    method: json === undefined ? "GET" : "POST",
    headers: {
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      "anthropic-version": "2023-06-01",
    },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });
  return {
    status: response.status,
    retryAfter: Number(response.headers.get("retry-after") ?? NaN),
    type: response.headers.get("content-type") ?? "",
    body: await response.json(),
  };
}

/** One model call of a program with an API key. */
export const askModel = (gatewayUrl: string, key: string): Promise<Answer> =>
  ask({
    url: `${gatewayUrl}/v1/messages`,
    key,
    json: {
      model: "claude-sonnet-5-5",
      max_tokens: 64,
      messages: [{ role: "user", content: "Say something short" }],
    },
  });

/** It was told to come again. */
export function expectUnavailable({ status, retryAfter, type, body }: Answer): void {
  expect({ status, body }).toMatchObject({ status: 503 });
  expect(retryAfter).toBeGreaterThan(0);
  expect(type).toMatch(/^application\/(problem\+)?json/);
  // The other: the answer was complete, and its charge could not be written.
  expect(JSON.stringify(body)).toMatch(/"(database_unavailable|charge_not_durable)"/);
}
