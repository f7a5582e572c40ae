import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import type { LimitList } from "@guildhall/sdk/contract/limit.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { Problem } from "@guildhall/sdk/contract/problem.ts";
import type { Task, TaskDetail } from "@guildhall/sdk/contract/task.ts";
import type { Agent, Usage } from "@guildhall/sdk/contract/workspace.ts";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import {
  type CommandResult,
  makeDataDir,
  type Product,
  removeDataDir,
  startProduct,
} from "./test/product.ts";

// Each command is a process of its own, and each task a dozen of model calls and tools.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const PROMPT = "Profile these CSV files and write report.md";

let product: Product;
let folder: string;
let input: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "guildhall-job-"));
  input = join(folder, "data");
  await mkdir(join(input, "2026"), { recursive: true });
  await writeFile(join(input, "sales.csv"), "region,revenue\nNorth,1200\nSouth,800\nNorth,1337\n");
  await writeFile(join(input, "2026/staff.csv"), "name,hours\nAda,31\nBen,29\n");
  product = await startProduct({ dataDir: await makeDataDir() });
});

afterAll(async () => {
  await product?.stop();
  if (product) await removeDataDir(product.dataDir);
  await rm(folder, { recursive: true, force: true });
});

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- it says what the command prints
function fromJson<T>({ stdout }: CommandResult): T {
  return JSON.parse(stdout) as T;
}

function problemOf({ stderr }: CommandResult): Problem {
  return JSON.parse(stderr) as Problem;
}

/** The product's own database, until the test ends. */
async function connectAdmin(): Promise<pg.Client> {
  const address = await readFile(join(product.dataDir, "database-url"), "utf8");
  const admin = new pg.Client({ connectionString: address });
  await admin.connect();
  onTestFinished(() => admin.end());
  return admin;
}

async function createTask(prompt: string, ...flags: string[]): Promise<Task> {
  return fromJson<Task>(await product.cli("task", "run", "-a", "gray", "--json", ...flags, prompt));
}

async function show(id: string): Promise<TaskDetail> {
  return fromJson<TaskDetail>(await product.cli("task", "show", id, "--json"));
}

async function untilState(id: string, state: Task["state"]): Promise<TaskDetail> {
  await expect.poll(async () => (await show(id)).state, { timeout: 60_000 }).toBe(state);
  return show(id);
}

async function report(out: string): Promise<string> {
  return readFile(join(folder, out, "report.md"), "utf8");
}

test("an agent works on a real folder, tells what it does, and its report has the figures of the files", async () => {
  const out = join(folder, "out");
  const done = await product.cli(
    "task",
    "run",
    "--agent",
    "gray",
    "-i",
    input,
    "--out",
    out,
    PROMPT,
    "--follow",
  );
  expect(done.stderr).toBe("");
  expect(done.code).toBe(0);
  expect(done.stdout).toMatch(/^task_\w+ · gray · never more than \$0\.5000\n/);
  expect(done.stdout).toMatch(/▸ profile_data: .*sales\.csv/);
  expect(done.stdout).toContain("wrote report.md");
  expect(done.stdout).toMatch(/✓ done · \$0\.\d{4}\n/);
  expect(done.stdout).toContain(`saved ${join(out, "report.md")}`);
  const text = await report("out");
  for (const figure of ["sales.csv", "2026/staff.csv", "1,337", "1,112.3333", "North (2)", "Ada"])
    expect(text).toContain(figure);
});

test("one changed cell of the input changes the report accordingly", async () => {
  const changed = join(folder, "changed");
  await mkdir(changed);
  await writeFile(
    join(changed, "sales.csv"),
    "region,revenue\nNorth,1200\nSouth,800\nNorth,4242\n",
  );
  const flags = ["-a", "gray", "-i", changed, "-o", join(folder, "out2")];
  expect((await product.cli("task", "run", ...flags, PROMPT)).code).toBe(0);
  const text = await report("out2");
  expect(text).toContain("4,242");
  expect(text).toContain("2,080.6667");
  expect(text).not.toContain("1,337");
});

test("each of the five works in a way of its own on the same task, and all of it is in the books", async () => {
  const { data: agents } = fromJson<{ data: Agent[] }>(
    await product.cli("agent", "list", "--json"),
  );
  expect(agents.map(({ id }) => id)).toEqual(["marcus", "sable", "devonte", "yuki", "gray"]);
  const plans = await Promise.all(
    agents.map(async ({ id }) => {
      const flags = ["-a", id, "-i", input, "--follow", "--json"];
      const done = await product.cli(
        "task",
        "run",
        ...flags,
        "Look at these files and write down what matters",
      );
      expect(done.code, done.stdout + done.stderr).toBe(0);
      const events = done.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Event);
      return events
        .flatMap((event) => (event.type === "tool.started" ? [event.data.name] : []))
        .join(" ");
    }),
  );
  expect(new Set(plans).size).toBe(agents.length);
});

test("one command gives any Anthropic client a key, its address and a monthly cap", async () => {
  const lines = await product.cli("gateway", "env", "--name", "script", "--cap", "0.05");
  expect(lines.code, lines.stderr).toBe(0);
  const shell = spawnSync(
    "sh",
    [
      "-c",
      'eval "$1"; printf "%s %s" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_API_KEY"',
      "",
      lines.stdout,
    ],
    { encoding: "utf8" },
  );
  const [baseURL, apiKey] = shell.stdout.split(" ");
  const client = new Anthropic({ baseURL: baseURL ?? "", apiKey: apiKey ?? "", logLevel: "off" });
  const ask = (maxTokens: number) =>
    client.messages.create({
      model: "claude-sonnet-5-5",
      max_tokens: maxTokens,
      messages: [{ role: "user", content: "Say hello." }],
    });
  expect((await ask(1_000)).content[0]).toMatchObject({ type: "text" });
  const id = /key_[0-9a-z]+/.exec(apiKey ?? "")?.[0];
  const usage = fromJson<Usage>(await product.cli("usage", "--json"));
  const used = usage.by_key.find((key) => key.key_id === id);
  expect(used).toMatchObject({ name: "script", limit_nano_usd: 50_000_000 });
  expect(used?.spent_nano_usd).toBeGreaterThan(0);
  expect((await product.cli("key", "revoke", id ?? "")).code).toBe(0);
  await expect(ask(1_000)).rejects.toMatchObject({ status: 401 });
});

test("a key whose cap is refused is not made, and an address is never shown without a key", async () => {
  const keys = async () =>
    fromJson<{ data: { id: string }[] }>(await product.cli("key", "list", "--json")).data.length;
  const before = await keys();
  for (const flags of [
    ["--cap", "0"],
    ["--cap", "ten"],
    ["--key", "sk-other"],
    ["--key", "ghk_x", "--cap", "1"],
    ["--client", "ruby"],
  ]) {
    const refused = await product.cli("gateway", "env", ...flags);
    expect([flags, refused.code, refused.stdout]).toEqual([flags, 2, ""]);
  }
  expect(await keys()).toBe(before);
});

test("every command speaks JSON", async () => {
  const [newest] = fromJson<{ data: Task[] }>(
    await product.cli("task", "list", "--json", "-n", "1"),
  ).data;
  const id = newest?.id ?? "";
  const commands = [
    ["task", "show", id],
    ["task", "download", id, "--out", join(folder, "json-out")],
    ["usage"],
    ["agent", "list"],
    ["key", "list"],
    ["limit", "set", "10"],
    ["doctor"],
    ["verify"],
  ];
  const results = await Promise.all(commands.map((command) => product.cli(...command, "--json")));
  for (const [index, result] of results.entries()) {
    expect(result, commands[index]?.join(" ")).toMatchObject({ code: 0, stderr: "" });
    expect(fromJson(result)).toBeTypeOf("object");
    expect(result.stdout.trim()).not.toContain("\n");
  }
  const followed = await product.cli("task", "follow", id, "--json");
  const events = followed.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Event);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
});

test("what people read of the commands names tasks, agents, money and the simulation", async () => {
  const [list, none, usage, agents, doctor] = await Promise.all([
    product.cli("task", "list"),
    product.cli("task", "list", "--agent", "nobody"),
    product.cli("usage"),
    product.cli("agent", "list"),
    product.cli("doctor"),
  ]);
  expect(list.stdout).toMatch(/^TASK\s+STATE\s+AGENT\s+SPENT \/ CAP\s+TITLE\ntask_/);
  expect(list.stdout).toContain(`${PROMPT}\n`);
  expect(none.stdout).toBe("No task matches. All of them: guildhall task list\n");
  expect(usage.stdout).toMatch(/^The model is simulated: these dollars are not real\.\n/);
  expect(usage.stdout).toMatch(/model_cost\s+\d{4}-\d\d\s+\$0\.\d{4}\s+\$0\.0000\s+\$10\.00/);
  expect(agents.stdout).toContain('Graham "Gray" Sutton');
  expect(doctor.stdout).toContain(`GUILDHALL_DATA_DIR=${product.dataDir}`);
});

test("what is wrong in the command line ends with 2 and says what", async () => {
  const cases: [says: string, ...command: string[]][] = [
    ["--nonsense", "usage", "--nonsense"],
    ["--nonsense", "start", "--nonsense"],
    ["--agent", "task", "run", PROMPT],
    ["marcus, sable, devonte, yuki, gray", "task", "run", "-a", "nobody", PROMPT],
    ["empty", "task", "run", "-a", "gray", "  "],
    ["0.50", "task", "run", "-a", "gray", "-c", "plenty", PROMPT],
    ["0.50", "task", "run", "-a", "gray", "-c", "0", PROMPT],
    ["0.50", "task", "run", "-a", "gray", "--cost-limit=-1", PROMPT],
    ["no such file", "task", "run", "-a", "gray", "-i", join(folder, "absent"), PROMPT],
    ["paused", "task", "list", "--state", "tired"],
    ["whole number", "task", "list", "-n", "many"],
    ["25.00", "limit", "set", "--", "-5"],
    ["tasks:read", "key", "create", "ci", "-s", "everything"],
    ["no profile", "usage", "--profile", "absent"],
    ["not an address", "usage", "--url", "nowhere"],
  ];
  const before = fromJson<{ data: Task[] }>(
    await product.cli("task", "list", "--json", "-n", "200"),
  );
  const results = await Promise.all(cases.map(([, ...command]) => product.cli(...command)));
  for (const [index, result] of results.entries()) {
    const [says = "", ...command] = cases[index] ?? [];
    expect(result, command.join(" ")).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain(says);
    expect(result.stderr).not.toMatch(/\n\s+at /);
  }
  const after = fromJson<{ data: Task[] }>(
    await product.cli("task", "list", "--json", "-n", "200"),
  );
  expect(after.data.length).toBe(before.data.length);
});

test("a damaged credential file is named to the command line, and a new link to sign in comes all the same", async () => {
  const path = join(product.dataDir, "cli.json");
  const whole = await readFile(path, "utf8");
  onTestFinished(() => writeFile(path, whole));
  expect((await product.cli("sign-in")).stdout).toContain(`${product.url}/#token=`);
  await writeFile(path, whole.slice(0, -5));
  const [usage, link] = [await product.cli("usage"), await product.cli("sign-in")];
  expect(usage).toMatchObject({ code: 2, stdout: "" });
  expect(usage.stderr).toContain(`${path} is not a credential file`);
  expect(link).toMatchObject({ code: 0, stderr: "" });
  expect(link.stdout).toMatch(/sign in .*\/#token=/);
});

test("what is not there ends with 1, also where nobody listens; in JSON it is the problem document", async () => {
  const [absent, nobody] = await Promise.all([
    product.cli("task", "show", "task_absent", "--json"),
    product.cli("usage", "--url", "http://127.0.0.1:1"),
  ]);
  expect(absent.code).toBe(1);
  expect(problemOf(absent)).toMatchObject({ status: 404, code: "task_not_found" });
  expect(nobody).toMatchObject({ code: 1, stdout: "" });
  expect(nobody.stderr).toContain("npm start");
});

test("a task that would pass its own limit pauses with 3, and cancelling it ends the watching with 1", async () => {
  const paused = await product.cli("task", "run", "-a", "gray", "-c", "0.000001", "-f", PROMPT);
  expect(paused.code).toBe(3);
  expect(paused.stdout).toContain(
    "❚❚ paused, exhausted: the limit is reached, model budget of the task",
  );
  const id = paused.stdout.split(" ")[0] ?? "";
  expect(await show(id)).toMatchObject({
    state: "paused",
    parked: { kind: "limit", level: "task", meter: "model_cost", limit: 1_000 },
    usage: { spent_nano_usd: 0 },
  });
  const shown = await product.cli("task", "show", id);
  expect(shown.stdout).toContain(`guildhall limit set <usd> --task ${id}`);
  const listed = await product.cli("limit", "list", "--changes");
  expect(listed.code).toBe(0);
  expect(listed.stdout).toMatch(/model budget of the task .+: 1 task waiting, raised by an owner/);
  expect(listed.stdout).toContain(`${id}  exhausted, needs $`);
  const limits = fromJson<LimitList>(await product.cli("limit", "list", "--json"));
  expect(limits.data.find(({ scope_id: scopeId }) => scopeId === id)).toMatchObject({
    level: "task",
    status: "stopped",
    waiting_count: 1,
  });
  expect((await product.cli("task", "cancel", id)).stdout).toBe(`${id} cancelled\n`);
  expect((await product.cli("task", "cancel", id)).code).toBe(0);
  const followed = await product.cli("task", "follow", id);
  expect(followed.code).toBe(1);
  expect(followed.stdout).toContain("✖ cancelled · $0.0000");
});

test("a workspace without money pauses its tasks with 3; more money lets the same task go on to its end", async () => {
  const usage = fromJson<Usage>(await product.cli("usage", "--json"));
  const spent = usage.meters.find(({ meter }) => meter === "model_cost")?.used ?? 0;
  expect((await product.cli("limit", "set", "0.0001")).code).toBe(0);
  const paused = await product.cli(
    "task",
    "run",
    "-a",
    "gray",
    "-i",
    input,
    "-f",
    "--json",
    PROMPT,
  );
  expect(paused.code).toBe(3);
  const events = paused.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Event);
  const last = events.at(-1);
  expect(last).toMatchObject({
    type: "task.paused",
    data: { level: "workspace", limit: 100_000, posted: spent, held: 0 },
  });
  const id = last?.stream_id ?? "";
  expect((await product.cli("limit", "set", "10.00")).stdout).toContain("$10.00 a month");
  const followed = await product.cli("task", "follow", id);
  expect(followed.code).toBe(0);
  expect(followed.stdout).toContain("✓ done");
});

test("a question waits for its answer, and the task goes on with it", async () => {
  const { id } = await createTask("Look around, but ask me before you write anything");
  const waiting = await untilState(id, "waiting");
  const question = waiting.parked?.kind === "question" ? waiting.parked.question_id : "";
  const shown = await product.cli("task", "show", id);
  expect(shown.stdout).toContain(`guildhall task answer ${question}`);
  const answered = await product.cli("task", "answer", question, "Leave the names out.", "--json");
  expect(answered.code).toBe(0);
  expect(fromJson(answered)).toEqual({ answered: question });
  const followed = await product.cli("task", "follow", id);
  expect(followed.code).toBe(0);
  expect(followed.stdout).toContain(`guildhall task answer ${question}`);
});

test("a model without a price pauses the task with 3 before anything is spent; another model lets it go on", async () => {
  const admin = await connectAdmin();
  await admin.query("UPDATE agents SET model = 'house-blend-1' WHERE id = 'yuki'");
  const paused = await product.cli("task", "run", "-a", "yuki", "-f", "Look around");
  expect(paused.code).toBe(3);
  expect(paused.stdout).toContain("❚❚ paused, unpriced: house-blend-1 has no price");
  const id = paused.stdout.split(" ")[0] ?? "";
  expect(await show(id)).toMatchObject({
    state: "paused",
    parked: { kind: "unpriced", model: "house-blend-1" },
    usage: { spent_nano_usd: 0 },
  });
  await admin.query("UPDATE agents SET model = 'claude-sonnet-5-5' WHERE id = 'yuki'");
  // Followed at once it may still be seen paused, which ends the watching.
  await untilState(id, "succeeded");
  expect((await product.cli("task", "follow", id)).code).toBe(0);
});

test("a key has its scopes and no more, and nothing once it is revoked", async () => {
  const maker = await product.cli("key", "create", "ci", "-s", "keys:write", "--json");
  expect(maker.code).toBe(4);
  expect(problemOf(maker).code).toBe("scope_beyond_maker");

  const made = await product.cli("key", "create", "ci", "-s", "tasks:read", "--json");
  expect(made.code).toBe(0);
  const { id, key } = fromJson<{ id: string; key: string }>(made);
  expect((await product.cli("task", "list", "--api-key", key)).code).toBe(0);
  const beyond = await product.cli("usage", "--api-key", key);
  expect(beyond).toMatchObject({ code: 4, stdout: "" });
  expect(beyond.stderr).toContain("usage:read");

  expect((await product.cli("key", "revoke", id)).stdout).toBe(`${id} revoked\n`);
  await expect
    .poll(async () => (await product.cli("task", "list", "--api-key", key)).code, {
      timeout: 60_000,
    })
    .toBe(4);
  const listed = await product.cli("key", "list");
  expect(listed.stdout).toMatch(new RegExp(`${id}\\s+ci\\s+tasks:read\\s+.*revoked`));
  expect(listed.stdout).not.toContain(key);
});

test("twenty creations at once with one key are one task, which runs once", async () => {
  const send = async (): Promise<Task> => {
    const response = await product.api("/v1/tasks", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "nightly-report" },
      body: JSON.stringify({ agent: "gray", prompt: "Look around" }),
    });
    expect(response.status).toBe(201);
    return (await response.json()) as Task;
  };
  const tasks = await Promise.all(Array.from({ length: 20 }, send));
  const [id = "", ...others] = new Set(tasks.map((task) => task.id));
  expect(others).toEqual([]);
  const done = await product.cli("task", "follow", id, "--json");
  expect(done.stdout.match(/"type":"task.created"/g)).toHaveLength(1);
  expect(done.stdout.match(/"type":"task.succeeded"/g)).toHaveLength(1);
  const flags = ["-a", "gray", "--idempotency-key", "nightly-report", "--json"];
  const again = await product.cli("task", "run", ...flags, "Look elsewhere");
  expect(again.code).toBe(2);
  expect(problemOf(again).code).toBe("idempotency_key_reused");
});

test("a path that leaves its folder comes neither out of a folder nor in by an upload", async () => {
  const linked = join(folder, "linked");
  await mkdir(linked);
  await writeFile(join(linked, "own.csv"), "a,b\n1,2\n");
  await symlink("/etc/hostname", join(linked, "host.csv"));
  const task = await createTask(PROMPT, "-i", linked);
  expect((await show(task.id)).input_files.map(({ path }) => path)).toEqual(["own.csv"]);

  const body = new FormData();
  body.append("files", new Blob(["x"]), "../../outside.csv");
  const refused = await product.api("/v1/uploads", { method: "POST", body });
  expect(refused.status).toBe(400);
  expect((await refused.json()) as Problem).toMatchObject({ code: "upload_path_invalid" });
});

test("the documents of the API list what it can do, and the page is there for every address of its own", async () => {
  const response = await fetch(`${product.url}/v1/openapi.json`);
  const { openapi, paths } = (await response.json()) as { openapi: string; paths: object };
  expect(openapi).toMatch(/^3\.1/);
  for (const path of [
    "/v1/tasks",
    "/v1/tasks/{id}",
    "/v1/tasks/{id}/events",
    "/v1/tasks/{id}/cancel",
    "/v1/agents",
    "/v1/usage",
    "/v1/uploads",
    "/v1/artifacts/{id}/content",
  ])
    expect(paths).toHaveProperty([path]);
  const accept = { headers: { accept: "text/html" } };
  for (const address of ["/docs/api", "/", "/w/any/tasks"])
    expect((await fetch(product.url + address, accept)).status).toBe(200);
});

/** nano-USD of the workspace by month, and those of all its keys. */
async function spentInAllPeriods(): Promise<{ periods: Map<string, number>; ofKeys: number }> {
  const { rows } = await (
    await connectAdmin()
  ).query<{ level: string; period: string; spent: string }>(
    `SELECT level, period, sum(posted) AS spent FROM budgets
       WHERE meter = 'model_cost' AND level IN ('workspace', 'key') GROUP BY level, period`,
  );
  const periods = new Map<string, number>();
  let ofKeys = 0;
  for (const { level, period, spent } of rows)
    if (level === "key") ofKeys += Number(spent);
    else periods.set(period, Number(spent));
  return { periods, ofKeys };
}

test("at the end nothing is reserved, all laws hold, and the sum of the tasks and keys is what the workspace paid", async () => {
  await expect
    .poll(
      async () => {
        const { data } = fromJson<{ data: Task[] }>(
          await product.cli("task", "list", "--json", "-n", "200"),
        );
        return data.filter(({ state }) => state === "queued" || state === "running").length;
      },
      { timeout: 60_000 },
    )
    .toBe(0);
  const laws = await product.cli("verify", "--quiet");
  expect(laws.stdout).not.toContain("✖");
  expect(laws.code).toBe(0);
  const { data } = fromJson<{ data: Task[] }>(
    await product.cli("task", "list", "--json", "-n", "200"),
  );
  const roots = data.filter(({ parent_task_id: parent }) => parent === null);
  const ofTasks = roots.reduce((total, task) => total + task.usage.spent_nano_usd, 0);
  // What a task or a key spent may lie in two months, and the answer is of the current one: the rest is in the database.
  const { periods, ofKeys } = await spentInAllPeriods();
  const usage = fromJson<Usage>(await product.cli("usage", "--json"));
  const current = usage.meters.find(({ meter }) => meter === "model_cost");
  expect(current).toMatchObject({ used: periods.get(current?.period ?? "") ?? 0, held: 0 });
  expect([...periods.values()].reduce((total, spent) => total + spent, 0)).toBe(ofTasks + ofKeys);
  expect(ofTasks).toBeGreaterThan(0);
  expect(ofKeys).toBeGreaterThan(0);
});
