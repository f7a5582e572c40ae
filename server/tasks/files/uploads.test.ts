import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { uploadSchema } from "@guildhall/sdk/contract/task.ts";
import { sha256Hex } from "../../platform/secret.ts";
import { type Caller, expectProblem, startTestApi } from "../../test/api.ts";

// 1,000 bytes and 5 files at most.
const api = await startTestApi();
const { admin, base, files, filesFolder, send } = api;
const mine = await api.caller();

type Part = readonly [path: string, content: string];

function formOf(parts: readonly Part[], field = "files"): FormData {
  const form = new FormData();
  for (const [path, content] of parts) form.append(field, new Blob([content]), path);
  return form;
}
const upload = (parts: readonly Part[], caller: Caller = mine) =>
  send("POST", "/v1/uploads", { key: caller.key, body: formOf(parts) });

/** What the workspace keeps: rows, and files on the disk, finished or not. */
async function keptBy({ workspaceId }: Caller): Promise<{ rows: number; files: number }> {
  const { rows } = await admin.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM uploads WHERE workspace_id = $1",
    [workspaceId],
  );
  const folders = [join(filesFolder, workspaceId), join(filesFolder, ".incoming")];
  const entries = await Promise.all(
    folders.map((folder) =>
      readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []),
    ),
  );
  return { rows: rows[0]!.n, files: entries.flat().filter((entry) => entry.isFile()).length };
}

test("files are kept with their folders, sizes and hashes", async () => {
  const response = await upload([
    ["data/a.csv", "a,b\n1,2\n"],
    ["data/deep/er/b.csv", ""],
    ["Übersicht – 1.md", "# x"],
  ]);
  expect(response.status).toBe(201);
  const body = uploadSchema.strict().parse(await response.json());
  expect(body.files).toEqual([
    { path: "data/a.csv", size_bytes: 8, sha256: sha256Hex("a,b\n1,2\n") },
    { path: "data/deep/er/b.csv", size_bytes: 0, sha256: sha256Hex("") },
    { path: "Übersicht – 1.md", size_bytes: 3, sha256: sha256Hex("# x") },
  ]);
  const key = { workspaceId: mine.workspaceId, sha256: sha256Hex("a,b\n1,2\n") };
  expect(await text(await files.open(key))).toBe("a,b\n1,2\n");
});

test("an upload beyond the workspace's quota is refused whole, with the figures, and a full one still takes what it has", async () => {
  const small = await api.caller();
  await api.admin.query(
    "INSERT INTO storage_agreements (workspace_id, version, is_own, quota_bytes, changed_by) VALUES ($1, 1, true, 10, 'test')",
    [small.workspaceId],
  );
  const parts = [["a.txt", "01234567"] as const];
  expect((await upload(parts, small)).status).toBe(201);
  const before = await keptBy(small);
  const refused = await upload([...parts, ["b.txt", "89a"]], small);
  expect(await refused.clone().json()).toMatchObject({
    quota_bytes: 10,
    used_bytes: 8,
    needed_bytes: 3,
  });
  await expectProblem(refused, 413, "storage_quota_exceeded");
  expect(await keptBy(small)).toEqual(before);
  expect((await upload([["copy.txt", "01234567"]], small)).status).toBe(201);
});

test("two files with the same content are both there", async () => {
  const response = await upload([
    ["a.txt", "same"],
    ["b.txt", "same"],
  ]);
  expect(uploadSchema.parse(await response.json()).files).toHaveLength(2);
});

test("as much as is allowed is kept, one byte or one file more is refused and nothing of it is kept", async () => {
  const caller = await api.caller();
  const full = await upload(
    [
      ["a", "x".repeat(600)],
      ["b", "y".repeat(400)],
    ],
    caller,
  );
  expect(full.status).toBe(201);
  const before = await keptBy(caller);
  const bytes = await upload(
    [
      ["a", "z".repeat(600)],
      ["b", "v".repeat(401)],
    ],
    caller,
  );
  await expectProblem(bytes, 413, "upload_too_large");
  const six = Array.from({ length: 6 }, (_, n): Part => [`${n}.txt`, `content ${n}`]);
  await expectProblem(await upload(six, caller), 413, "upload_too_many_files");
  expect(await keptBy(caller)).toEqual(before);
});

test("what announces itself as too large is refused without being read, and the client gets the answer", async () => {
  const caller = await api.caller();
  const response = await upload([["big.bin", "x".repeat(3_000_000)]], caller);
  await expectProblem(response, 413, "upload_too_large");
  expect(await keptBy(caller)).toEqual({ rows: 0, files: 0 });
});

test("what does not announce its size is refused when it grows too large", async () => {
  const caller = await api.caller();
  const form = new Response(formOf([["big.bin", "x".repeat(2_000_000)]]));
  const response = await fetch(`${base}/v1/uploads`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${caller.key}`,
      "content-type": form.headers.get("content-type")!,
    },
    body: form.body,
    duplex: "half",
  });
  await expectProblem(response, 413, "upload_too_large");
  expect(await keptBy(caller)).toEqual({ rows: 0, files: 0 });
});

test.each([
  ["a path that leaves its folder", [["../../etc/cron.d/x", "x"]]],
  ["an absolute path", [["/etc/passwd", "x"]]],
  ["a backslash", [["..\\x", "x"]]],
  [
    "the same path twice",
    [
      ["a.txt", "1"],
      ["A.txt", "2"],
    ],
  ],
] as const)("%s is refused with the file, and nothing is kept", async (_title, parts) => {
  const caller = await api.caller();
  const response = await upload([["ok.txt", "fine"], ...parts].slice(-5) as Part[], caller);
  const problem = await expectProblem(response, 400, "upload_path_invalid");
  expect(problem.errors?.[0]?.field).toMatch(/^files\.[12]$/);
  expect(await keptBy(caller)).toEqual({ rows: 0, files: 0 });
});

test("an upload without files, with another field, or of another type says what is wanted", async () => {
  const empty = new FormData();
  await expectProblem(
    await send("POST", "/v1/uploads", { key: mine.key, body: formOf([["a", "1"]], "file") }),
    400,
    "validation_failed",
  );
  empty.append("note", "hello");
  const problem = await expectProblem(
    await send("POST", "/v1/uploads", { key: mine.key, body: empty }),
    400,
    "validation_failed",
  );
  expect(problem.errors?.[0]?.field).toBe("note");
  await expectProblem(
    await send("POST", "/v1/uploads", { key: mine.key, json: { files: [] } }),
    415,
    "unsupported_media_type",
  );
  const boundary = { "content-type": "multipart/form-data; boundary=x" };
  await expectProblem(
    await send("POST", "/v1/uploads", { key: mine.key, body: "--x--\r\n", headers: boundary }),
    400,
    "upload_empty",
  );
});

test.each(["__proto__", "constructor", "toString"])(
  "a part named %s is refused, not assigned",
  async (field) => {
    const response = await send("POST", "/v1/uploads", {
      key: mine.key,
      body: formOf([["a", "1"]], field),
    });
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
  },
);

test("an upload that breaks off leaves nothing", async () => {
  const caller = await api.caller();
  const url = new URL(base);
  const socket = connect(Number(url.port), url.hostname);
  socket.write(
    `POST /v1/uploads HTTP/1.1\r\nhost: ${url.host}\r\nauthorization: Bearer ${caller.key}\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 900\r\n\r\n--x\r\ncontent-disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhalf of`,
  );
  // The file arrives on the disk as it is sent; then the client is gone.
  await expect.poll(() => keptBy(caller)).toEqual({ rows: 0, files: 1 });
  socket.destroy();
  await expect.poll(() => keptBy(caller)).toEqual({ rows: 0, files: 0 });
});
