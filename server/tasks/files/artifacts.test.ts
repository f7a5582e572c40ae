import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { artifactListSchema, taskDetailSchema } from "@guildhall/sdk/contract/task.ts";
import { newId } from "../../platform/ids.ts";
import { type Caller, expectProblem, startTestApi, withoutRequestId } from "../../test/api.ts";
import { createContent, createQueuedRun } from "../../test/tenant.ts";
import { dispositionOf } from "./artifacts.ts";

const api = await startTestApi();
const { admin, files, send } = api;
const mine = await api.caller();

/** An artifact of a task of its own, as the worker stores it. */
async function write(caller: Caller, path: string, content: string | Buffer) {
  const run = await createQueuedRun(admin, caller);
  const stored = await files.put({
    workspaceId: caller.workspaceId,
    stream: Readable.from([Buffer.from(content)]),
    maxBytes: 1_000_000,
  });
  const id = newId("art");
  await admin.query(
    "INSERT INTO artifacts (workspace_id, id, task_id, run_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    [caller.workspaceId, id, run.taskId, run.runId, path, stored.sizeBytes, stored.sha256],
  );
  return { ...run, id, ...stored };
}
const open = (id: string, query = "", caller: Caller = mine) =>
  send("GET", `/v1/artifacts/${id}/content${query}`, { key: caller.key });

test("the files that a task wrote are listed, also with the task", async () => {
  const artifact = await write(mine, "out/report.md", "# Report\n");
  const expected = [
    {
      id: artifact.id,
      path: "out/report.md",
      size_bytes: 9,
      sha256: artifact.sha256,
      created_at: expect.any(String),
    },
  ];
  const list = await send("GET", `/v1/tasks/${artifact.taskId}/artifacts`, { key: mine.key });
  expect(artifactListSchema.strict().parse(await list.json()).data).toEqual(expected);
  const task = await send("GET", `/v1/tasks/${artifact.taskId}`, { key: mine.key });
  expect(taskDetailSchema.parse(await task.json()).artifacts).toEqual(expected);
});

test("a file comes whole and byte for byte, as an attachment that can run nothing", async () => {
  const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, n) => (n * 7) % 256));
  const artifact = await write(mine, "out/data.bin", bytes);
  const response = await open(artifact.id);
  expect(response.status).toBe(200);
  const body = Buffer.from(await response.arrayBuffer());
  expect(createHash("sha256").update(body).digest("hex")).toBe(artifact.sha256);
  expect(response.headers.get("content-length")).toBe("200000");
  expect(response.headers.get("content-type")).toBe("application/octet-stream");
  expect(response.headers.get("content-disposition")).toMatch(/^attachment; filename="data\.bin"/);
  expect(response.headers.get("content-security-policy")).toBe("default-src 'none'; sandbox");
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
});

test.each([
  ["report.md", "text/plain; charset=utf-8"],
  ["REPORT.CSV", "text/plain; charset=utf-8"],
  ["a.json", "text/plain; charset=utf-8"],
  ["chart.png", "image/png"],
])("%s can be shown, as %s", async (path, type) => {
  const { id } = await write(mine, path, "content");
  const shown = await open(id, "?inline=1");
  expect(shown.headers.get("content-type")).toBe(type);
  expect(shown.headers.get("content-disposition")).toMatch(/^inline; /);
  expect(shown.headers.get("content-security-policy")).toContain("sandbox");
  expect((await open(id)).headers.get("content-disposition")).toMatch(/^attachment; /);
});

test.each([
  "page.html",
  "picture.svg",
  "feed.xml",
  "paper.pdf",
  "script.js",
  "no-extension",
  "a.md.html",
])("%s is never shown, only downloaded", async (path) => {
  const { id } = await write(mine, path, "<script>alert(1)</script>");
  const response = await open(id, "?inline=1");
  expect(response.headers.get("content-type")).toBe("application/octet-stream");
  expect(response.headers.get("content-disposition")).toMatch(/^attachment; /);
});

test("a name with anything in it neither breaks the header nor is lost", async () => {
  const { id } = await write(mine, `dir/Bericht "neu"; é\u{1f600}'(1).csv`, "x");
  const header = (await open(id)).headers.get("content-disposition")!;
  expect(header).toBe(
    `attachment; filename="Bericht _neu__ ____1_.csv"; filename*=UTF-8''Bericht%20%22neu%22%3B%20%C3%A9%F0%9F%98%80%27%281%29.csv`,
  );
  expect(dispositionOf("inline", "a\r\nset-cookie: x=1")).not.toMatch(/[\r\n]/);
});

test("a foreign artifact, an unknown one and nonsense get the same answer", async () => {
  const foreign = await write(await api.caller(), "theirs.txt", "their secret");
  const ids = [foreign.id, "art_00000000000000000000000000", "nonsense"];
  const answers = await Promise.all(ids.map((id) => open(id)));
  expect(answers.map((answer) => answer.status)).toEqual([404, 404, 404]);
  const bodies = await Promise.all(answers.map(withoutRequestId));
  expect(bodies[0]).toContain("artifact_not_found");
  expect(new Set(bodies).size).toBe(1);
});

test("an artifact whose content is gone is our fault, said so, and not an empty file", async () => {
  const { taskId, runId } = await createQueuedRun(admin, mine);
  const id = newId("art");
  await admin.query(
    "INSERT INTO artifacts (workspace_id, id, task_id, run_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, 'gone.txt', 3, $5)",
    [mine.workspaceId, id, taskId, runId, await createContent(admin, mine, 3)],
  );
  await expectProblem(await open(id), 500, "content_missing");
});

test("an unknown query is refused", async () => {
  const { id } = await write(mine, "a.txt", "x");
  await expectProblem(await open(id, "?inline=yes"), 400, "validation_failed");
  await expectProblem(await open(id, "?path=/etc/passwd"), 400, "validation_failed");
});
