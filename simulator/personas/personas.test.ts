import { expect, test } from "vitest";
import type { AgentRun } from "./agent-fixture.ts";
import {
  ALL_TOOLS,
  FILE_TOOLS,
  runAgent,
  SYSTEM_PROMPTS,
  toolDefinitions,
} from "./agent-fixture.ts";
import { startSimulator } from "../simulator-fixture.ts";

const ORDERS =
  "id,amount,day\n1,10.5,2026-01-01\n2,,2026-01-02\n3,-7,2026-01-03\n3,-7,2026-01-03\n";
const FILES = {
  "input/orders.csv": ORDERS,
  "input/notes.md": "# Title\n\nSome words here.\n\n## Part two\n\nTODO: fix the grüße\n",
  "input/app.log":
    "2026-01-01T10:00:00Z INFO start\n2026-01-01T10:05:00Z ERROR db timeout\n2026-01-01T11:00:00Z WARN slow\n",
  "input/code.ts":
    "export function add(a: number, b: number) {\n  // FIXME: overflow\n  return a + b\n}\n",
};
const PROMPT = "Profile these files and write report.md";
const AGENTS = Object.keys(SYSTEM_PROMPTS) as (keyof typeof SYSTEM_PROMPTS)[];

async function run(
  input: Partial<Parameters<typeof runAgent>[0]> & { agent: keyof typeof SYSTEM_PROMPTS },
): Promise<AgentRun> {
  const { client } = await startSimulator();
  return runAgent({ client, prompt: PROMPT, files: FILES, ...input });
}

for (const agent of AGENTS) {
  test(`${agent} finishes the task with the asked file, and calls only what is offered`, async () => {
    const done = await run({ agent });
    expect(done.files.get("report.md")).toMatch(/^# .*simulated model/s);
    expect(done.answer).toContain("report.md");
    expect(done.toolNames.every((name) => FILE_TOOLS.includes(name))).toBe(true);
    expect(new Set(done.calls).size).toBeGreaterThan(2);
  });

  test(`${agent}: one changed cell changes the report`, async () => {
    const { client } = await startSimulator();
    const before = await runAgent({ client, agent, prompt: PROMPT, files: FILES });
    const after = await runAgent({
      client,
      agent,
      prompt: PROMPT,
      files: { ...FILES, "input/orders.csv": ORDERS.replace("10.5", "99.25") },
    });
    expect(before.files.get("report.md")).not.toContain("99.25");
    expect(after.files.get("report.md")).toContain("99.25");
    expect(after.calls).toEqual(before.calls);
  });

  test(`${agent} does the same again on the same input`, async () => {
    const [one, two] = await Promise.all([run({ agent }), run({ agent })]);
    expect(two).toEqual(one);
  });

  test(`${agent} comes to an end when every tool fails, and admits it`, async () => {
    const broken = Object.fromEntries(ALL_TOOLS.map((name) => [name, () => true]));
    const done = await run({ agent, tools: ALL_TOOLS, broken });
    expect(done.answer).toContain("list_files");
    expect(done.answer).toContain("is broken today");
    expect(done.turns).toBeLessThan(12);
  });

  test(`${agent} writes under another name when the asked one is refused`, async () => {
    const done = await run({
      agent,
      broken: { write_file: (input) => input["path"] === "report.md" },
    });
    expect(done.files.get("result-report.md")).toBeDefined();
    expect(done.answer).toContain("result-report.md");
    expect(done.answer).toContain("write_file is broken today");
  });

  test(`${agent} answers from the prompt without input, and writes the file that it names`, async () => {
    const done = await run({
      agent,
      files: {},
      prompt: "How do we roll back? Write docs/rollback.md.",
    });
    expect([...done.files.keys()]).toEqual(["docs/rollback.md"]);
    expect(done.files.get("docs/rollback.md")).toContain("How do we roll back?");
    const quiet = await run({ agent, files: {}, prompt: "How do we roll back?" });
    expect([...quiet.files.keys()]).toEqual([]);
    expect(quiet.answer).toContain("How do we roll back?");
  });

  test(`${agent} answers in words when no tool is offered at all`, async () => {
    const done = await run({ agent, tools: [], files: {}, prompt: "What now?" });
    expect([done.turns, done.calls]).toEqual([1, []]);
    expect(done.answer).toContain("What now?");
  });

  test(`${agent} keeps its file small enough for max_tokens`, async () => {
    const wide = `${Array.from({ length: 40 }, (_, index) => `column_${index}`).join(",")}\n${"1,".repeat(39)}1\n`;
    const many = Object.fromEntries(
      Array.from({ length: 12 }, (_, index) => [`input/wide-${index}.csv`, wide]),
    );
    const done = await run({ agent, files: many, maxTokens: 1_500 });
    expect(done.files.get("report.md")).toMatch(/left out|simulated model/);
  });
}

test("the same task is done by five different plans", async () => {
  const runs = await Promise.all(AGENTS.map((agent) => run({ agent, tools: ALL_TOOLS })));
  expect(new Set(runs.map((done) => done.calls.join())).size).toBe(5);
  const tools = Object.fromEntries(
    AGENTS.map((agent, index) => [agent, new Set(runs[index]!.toolNames)]),
  );
  expect([...tools["gray"]!]).toEqual(["list_files", "profile_data", "read_file", "write_file"]);
  expect([...tools["yuki"]!]).toContain("search_files");
  expect([...tools["devonte"]!]).toContain("send_message");
  expect([...tools["marcus"]!]).toContain("delegate_task");
  expect(runs[AGENTS.indexOf("sable")]!.files.has("plan.md")).toBe(true);
  expect(runs[AGENTS.indexOf("devonte")]!.files.get("prototype.html")).toContain("<td>10.5</td>");
});

test("Gray gives the real figures in the report and in the answer", async () => {
  const { files, answer } = await run({ agent: "gray" });
  const report = files.get("report.md")!;
  for (const text of [
    "4 rows, 3 columns, 1 duplicate row",
    "| amount | DOUBLE | 1 | 2 | -7 | 10.5 |",
    "amount: 1 of 4 values are missing",
    "smallest value is -7",
  ])
    expect(report).toContain(text);
  expect(answer).toContain("input/orders.csv: 4 rows, 3 columns");
});

test("text, logs and code are summed up from their content", async () => {
  const report = (await run({ agent: "gray" })).files.get("report.md")!;
  for (const text of [
    "headings: Title / Part two",
    "open point, line 7: TODO: fix the grüße",
    "levels: ERROR 1, WARN 1, INFO 1",
    "2026-01-01T10:00:00Z to 2026-01-01T11:00:00Z",
    "defines: add",
    "FIXME: overflow",
  ])
    expect(report).toContain(text);
});

test("Gray reads a data file by eye when it cannot be profiled, and reads long logs page by page", async () => {
  const log = Array.from(
    { length: 800 },
    (_, index) => `2026-01-01T10:00:00Z ${index === 750 ? "ERROR" : "INFO"} ${index}`,
  ).join("\n");
  const done = await run({
    agent: "gray",
    files: { "input/orders.csv": ORDERS, "input/app.log": log },
    broken: { profile_data: () => true },
  });
  const report = done.files.get("report.md")!;
  expect(report).toContain("profile_data input/orders.csv: profile_data is broken today");
  expect(report).toContain("amount: number, 2 distinct values, 1 blank, -7 to 10.5");
  expect(report).toContain("levels: ERROR 1, INFO 799");
});

test("Marcus delegates once, checks a figure himself, and decides; alone, he reads a sample", async () => {
  const team = await run({ agent: "marcus", tools: ALL_TOOLS });
  expect(team.toolNames.filter((name) => name === "delegate_task")).toHaveLength(1);
  expect(team.files.get("report.md")).toContain(
    "4 rows by my own check, and the result says the same",
  );
  expect(team.answer).toMatch(/^Decision: /);
  const alone = await run({ agent: "marcus" });
  expect(alone.calls).toContain("read_file input/orders.csv");
  const refused = await run({
    agent: "marcus",
    tools: ALL_TOOLS,
    broken: { delegate_task: () => true },
  });
  expect(refused.calls).toContain("read_file input/orders.csv");
  expect(refused.answer).toContain("delegate_task gray: delegate_task is broken today");
});

test("mail, a question to the human and a message happen where the prompt asks for them", async () => {
  const prompt =
    "Check the inbox, ask me before you start, write report.md and tell Yuki about it.";
  const done = await run({ agent: "gray", tools: ALL_TOOLS, prompt });
  expect(done.toolNames).toEqual(
    expect.arrayContaining(["check_inbox", "ask_human", "send_message"]),
  );
  expect(done.files.get("report.md")).toContain("Leave out the year 2020.");
  expect(done.files.get("report.md")).toContain('sable wrote "Mind the dates"');
});

test("an input file is never mistaken for the file to write", async () => {
  const done = await run({
    agent: "sable",
    prompt: "Summarise notes.md for the board in summary.txt",
  });
  expect(done.files.has("summary.txt")).toBe(true);
  expect(done.files.has("notes.md")).toBe(false);
});

test("JSON that is read shows its records and keys, and a finding makes Marcus set a condition", async () => {
  const files = {
    "input/events.json": '[{"a":1,"b":"x"},{"a":2,"b":null}]',
    "input/orders.csv": ORDERS,
  };
  const done = await run({ agent: "marcus", files });
  expect(done.files.get("report.md")).toContain(
    "2 records, 2 keys; a: in 2 of 2; b: in 2 of 2, null in 1",
  );
  expect(done.answer).toMatch(/^Decision: Go, on condition: 2 findings/);
  const clean = await run({ agent: "marcus", files: { "input/ok.csv": "id\n1\n2\n" } });
  expect(clean.answer).toMatch(/^Decision: Go\. /);
});

test("tools that are served over MCP are used under the names that the request gives them", async () => {
  const { client } = await startSimulator();
  const tools = toolDefinitions(["mcp__guild__list_files", "mcp__guild__profile_data"]);
  const message = await client.messages.create({
    model: "claude-sonnet-5-5",
    max_tokens: 500,
    system: SYSTEM_PROMPTS.gray,
    tools,
    messages: [
      { role: "user", content: PROMPT },
      {
        role: "assistant",
        content: [{ type: "tool_use", id: "t1", name: "mcp__guild__list_files", input: {} }],
      },
      {
        role: "user",
        content: [
          {
            type: "tool_result",
            tool_use_id: "t1",
            content: '{"entries":[{"path":"input/a.csv","type":"file"}]}',
          },
        ],
      },
    ],
  });
  expect(message.content.at(-1)).toMatchObject({
    name: "mcp__guild__profile_data",
    input: { path: "input/a.csv" },
  });
});

test("a pile of long texts is not read without end, and the report says what was left out", async () => {
  const line = `${"word ".repeat(60)}\n`;
  const files = Object.fromEntries(
    Array.from({ length: 20 }, (_, index) => [`input/text-${index}.txt`, line.repeat(400)]),
  );
  const done = await run({ agent: "gray", files });
  expect(done.toolNames.filter((name) => name === "read_file").length).toBeLessThan(8);
  expect(done.files.get("report.md")).toContain("17 files not examined");
  expect(done.answer).toContain("only the first 300 lines read");
});

test("a model that is stuck makes its last calls again, as often as it is told, and then goes on", async () => {
  const faults = [{ kind: "repeat" as const, times: 3 }];
  const { client } = await startSimulator({ faults });
  const stuck = await runAgent({ client, agent: "gray", prompt: PROMPT, files: FILES });
  const free = await run({ agent: "gray" });
  const [first = ""] = free.calls;
  expect(stuck.calls).toEqual([first, first, ...free.calls]);
  expect(stuck.files).toEqual(free.files);
});
