import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { startRecordingServer, type RawRequest } from "./recording-server.ts";
import { scrub } from "./scrub.ts";
import { typescriptScenarios } from "./typescript-client.ts";

// Records what the official clients send, for `recorded.test.ts`. The folder that is given has the clients that are
// not part of this repository: node_modules with @anthropic-ai/claude-code and claude-agent-sdk, venv with anthropic.
//
//   node server/gateway/recorded/record.ts FOLDER

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: node record.ts FOLDER (see the comment in it)");
const server = await startRecordingServer();
const home = await mkdtemp(join(tmpdir(), "guildhall-recording-"));
await writeFile(join(home, "notes.txt"), "Nothing in here.\n");

type Recording = { name: string; requests: RawRequest[] };

/** The agents get a bare environment, so that nothing of this machine and its user is recorded. */
const agentEnv = {
  PATH: process.env["PATH"],
  HOME: home,
  ANTHROPIC_BASE_URL: server.url,
  ANTHROPIC_API_KEY: "recording",
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  DISABLE_TELEMETRY: "1",
  DISABLE_AUTOUPDATER: "1",
  DISABLE_ERROR_REPORTING: "1",
};

async function versionOf(name: string): Promise<string> {
  const path = join(String(folder), "node_modules", name, "package.json");
  return (JSON.parse(await readFile(path, "utf8")) as { version: string }).version;
}

/** The clients name themselves as `Anthropic/JS 1.12.0`. */
function versionIn(recordings: readonly Recording[]): string {
  const agent = String(recordings[0]?.requests[0]?.headers["user-agent"]);
  return agent.split(" ").at(-1) ?? "";
}

async function save(
  file: string,
  client: { name: string; version: string },
  recordings: Recording[],
): Promise<void> {
  const recorded = {
    client: client.name,
    version: client.version,
    date: new Date().toISOString().slice(0, 10),
    recordings: recordings.map(({ name, requests }) => ({ name, requests: requests.map(scrub) })),
  };
  await writeFile(
    new URL(`${file}.json`, import.meta.url),
    `${JSON.stringify(recorded, null, 2)}\n`,
  );
  process.stdout.write(`${file}: ${client.version}, ${recordings.length} recordings\n`);
}

async function recordTypescript(): Promise<void> {
  const recordings: Recording[] = [];
  for (const [name, call] of Object.entries(typescriptScenarios(server.url))) {
    await Promise.resolve()
      .then(call)
      .catch((error: unknown) => process.stderr.write(`${name}: ${String(error)}\n`));
    recordings.push({ name, requests: server.taken() });
  }
  const version = versionIn(recordings);
  await save("typescript", { name: "@anthropic-ai/sdk", version }, recordings);
}

async function recordPython(): Promise<void> {
  const python = join(String(folder), "venv/bin/python");
  const script = new URL("python_client.py", import.meta.url).pathname;
  const child = spawn(python, [script, server.url], { stdio: ["pipe", "pipe", "inherit"] });
  const recordings: Recording[] = [];
  let name = "";
  for await (const line of createInterface({ input: child.stdout })) {
    if (name !== "") recordings.push({ name, requests: server.taken() });
    name = line;
    child.stdin.write("\n");
  }
  const version = versionIn(recordings);
  await save("python", { name: "anthropic (Python)", version }, recordings);
}

function runClaudeCode(args: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn(join(String(folder), "node_modules/.bin/claude"), args, {
      cwd: home,
      env: agentEnv,
      stdio: ["ignore", "ignore", "inherit"],
      timeout: 60_000,
    });
    child.on("exit", () => resolve());
  });
}

async function recordClaudeCode(): Promise<void> {
  const scenarios: Record<string, string[]> = {
    "a question with a tool": ["-p", "What do the notes say?", "--allowedTools", "Read"],
    "the conversation goes on": ["-p", "Thanks.", "--continue"],
    "a small model": ["-p", "Hello.", "--model", "haiku", "--tools", ""],
    "the largest model": ["-p", "Hello.", "--model", "fable", "--tools", ""],
    "a long window": ["-p", "Hello.", "--model", "sonnet[1m]", "--tools", "", "--effort", "low"],
    "a schema for the answer": [
      "-p",
      "Hello.",
      "--model",
      "sonnet",
      "--tools",
      "",
      "--json-schema",
      '{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}',
    ],
    "what fills the window": ["-p", "/context"],
  };
  const recordings: Recording[] = [];
  for (const [name, args] of Object.entries(scenarios)) {
    await runClaudeCode(args);
    recordings.push({ name, requests: server.taken() });
  }
  const name = "@anthropic-ai/claude-code";
  await save("claude-code", { name, version: await versionOf(name) }, recordings);
}

type AgentSdk = {
  query(input: { prompt: string; options: Record<string, unknown> }): AsyncIterable<unknown>;
  tool(name: string, description: string, schema: object, run: () => Promise<unknown>): unknown;
  createSdkMcpServer(input: { name: string; tools: unknown[] }): unknown;
};

async function recordAgentSdk(): Promise<void> {
  const entry = join(String(folder), "node_modules/@anthropic-ai/claude-agent-sdk/sdk.mjs");
  const sdk = (await import(pathToFileURL(entry).href)) as AgentSdk;
  const look = sdk.tool("look", "Looks.", {}, async () => ({
    content: [{ type: "text", text: "Nothing." }],
  }));
  const options = { cwd: home, env: agentEnv, settingSources: [], maxTurns: 3 };
  const scenarios: Record<string, Record<string, unknown>> = {
    "a question with a tool": { allowedTools: ["Read"] },
    "tools of one's own": {
      systemPrompt: "You are brief.",
      tools: [],
      mcpServers: { own: sdk.createSdkMcpServer({ name: "own", tools: [look] }) },
      allowedTools: ["mcp__own__look"],
    },
    "a small model that thinks": {
      tools: [],
      model: "haiku",
      thinking: { type: "enabled", budgetTokens: 4_000 },
    },
    "no thinking": { tools: [], model: "sonnet", thinking: { type: "disabled" }, effort: "low" },
    "a schema for the answer": {
      tools: [],
      model: "sonnet",
      outputFormat: {
        type: "json_schema",
        schema: { type: "object", properties: { answer: { type: "string" } } },
      },
    },
    "a budget for the task": { tools: [], model: "sonnet", taskBudget: { total: 50_000 } },
  };
  const recordings: Recording[] = [];
  for (const [name, changes] of Object.entries(scenarios)) {
    try {
      const answer = sdk.query({
        prompt: "What do the notes say?",
        options: { ...options, ...changes },
      });
      for await (const message of answer) void message;
    } catch (error) {
      process.stderr.write(`${name}: ${String(error)}\n`);
    }
    recordings.push({ name, requests: server.taken() });
  }
  const name = "@anthropic-ai/claude-agent-sdk";
  await save("agent-sdk", { name, version: await versionOf(name) }, recordings);
}

try {
  await recordTypescript();
  await recordPython();
  await recordClaudeCode();
  await recordAgentSdk();
} finally {
  await server.close();
  await rm(home, { recursive: true, force: true });
}
