/** Where a program calls models, and with what. */
export type GatewayAccess = { baseUrl: string; key: string };

/** A model of the price table, for examples. */
const EXAMPLE_MODEL = "claude-sonnet-5-5";

/** Single quotes, so that a shell takes the text as it is. */
function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** The variables that the official clients and Claude Code read. */
export function gatewayVariables({ baseUrl, key }: GatewayAccess): Record<string, string> {
  return { ANTHROPIC_BASE_URL: baseUrl, ANTHROPIC_API_KEY: key };
}

/** The same as lines for a POSIX shell. */
export function gatewayExports(access: GatewayAccess): string {
  return Object.entries(gatewayVariables(access))
    .map(([name, value]) => `export ${name}=${shellQuoted(value)}`)
    .join("\n");
}

/** For each client what to write or run so that it calls models through the gateway. */
export const gatewaySetups = {
  typescript: ({ baseUrl, key }: GatewayAccess): string =>
    `import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: ${JSON.stringify(baseUrl)},
  apiKey: ${JSON.stringify(key)},
});
const message = await client.messages.create({
  model: "${EXAMPLE_MODEL}",
  max_tokens: 1000,
  messages: [{ role: "user", content: "Say hello." }],
});
console.log(message.content);`,
  python: ({ baseUrl, key }: GatewayAccess): string =>
    `from anthropic import Anthropic

client = Anthropic(
    base_url=${JSON.stringify(baseUrl)},
    api_key=${JSON.stringify(key)},
)
message = client.messages.create(
    model="${EXAMPLE_MODEL}",
    max_tokens=1000,
    messages=[{"role": "user", "content": "Say hello."}],
)
print(message.content)`,
  claudeCode: (access: GatewayAccess): string => `${gatewayExports(access)}\nclaude`,
  curl: ({ baseUrl, key }: GatewayAccess): string =>
    `curl ${shellQuoted(`${baseUrl}/v1/messages`)} \\
  -H ${shellQuoted(`x-api-key: ${key}`)} \\
  -H 'anthropic-version: 2023-06-01' \\
  -H 'content-type: application/json' \\
  -d '{"model": "${EXAMPLE_MODEL}", "max_tokens": 1000, "messages": [{"role": "user", "content": "Say hello."}]}'`,
} as const;

export type GatewayClient = keyof typeof gatewaySetups;
