import { createServer, type IncomingHttpHeaders } from "node:http";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { AppError } from "../errors.ts";
import { Secret, sha256Hex } from "../secret.ts";
import type { S3Settings } from "./s3-errors.ts";
import { startS3 } from "./s3-fixture.ts";
import { createS3Objects } from "./s3-objects.ts";

const server = await startS3();
afterAll(() => server.close());
let path: string;
beforeAll(async () => {
  path = join(await mkdtemp(join(tmpdir(), "guildhall-s3-test-")), "file");
  await writeFile(path, "content");
});
afterAll(() => rm(join(path, ".."), { recursive: true, force: true }));
const name = { workspaceId: "ws_a", object: sha256Hex("content") };
const file = () => ({ path, sizeBytes: 7, sha256: name.object });

async function refusal(change: Partial<S3Settings>): Promise<AppError> {
  const store = await createS3Objects({ ...server.settings, ...change });
  const error: unknown = await store.check().catch((reason: unknown) => reason);
  if (!(error instanceof AppError)) throw new Error(`no refusal: ${inspect(error)}`);
  return error;
}

test("a bucket that is not there stops the start, with the setting to correct", async () => {
  expect(await refusal({ bucket: "elsewhere" })).toMatchObject({
    code: "storage_not_usable",
    publicMessage: `The file store at ${server.settings.endpoint} cannot be used: there is no bucket elsewhere.`,
    hint: expect.stringContaining("S3_BUCKET"),
  });
});

test.each([
  ["a wrong secret", { secret: new Secret("not-the-secret-of-this-key") }],
  ["an unknown key", { keyId: "NOBODY", secret: new Secret("not-the-secret-of-this-key") }],
])("%s stops the start, and is in no message or log of it", async (_what, change) => {
  const error = await refusal(change);
  expect(error.hint).toBe("Correct S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY.");
  expect(inspect(error, { depth: 20, showHidden: true })).not.toContain("not-the-secret");
  expect(JSON.stringify(error)).not.toContain("not-the-secret");
});

test("a service that does not answer stops the start, and during work is an error that passes", async () => {
  const endpoint = "http://127.0.0.1:1";
  expect(await refusal({ endpoint })).toMatchObject({
    publicMessage: `The file store at ${endpoint} cannot be used: it cannot be reached.`,
    hint: "Start the service, or correct S3_ENDPOINT.",
  });
  const store = await createS3Objects({ ...server.settings, endpoint });
  await expect(store.put(name, file())).rejects.toMatchObject({
    code: "storage_unavailable",
    status: 503,
    retryable: true,
  });
});

/** A service that answers each request as the list says, and then as the last entry does. */
async function answering(
  ...answers: (number | [number, string])[]
): Promise<S3Settings & { seen: IncomingHttpHeaders[] }> {
  const seen: IncomingHttpHeaders[] = [];
  const service = createServer((request, response) => {
    seen.push(request.headers);
    request.resume().on("end", () => {
      const next = (answers.length > 1 ? answers.shift() : answers[0]) ?? 200;
      const [status, code] = Array.isArray(next) ? next : [next, "Odd"];
      response.writeHead(status, { "content-type": "application/xml" });
      response.end(status === 200 ? "" : `<Error><Code>${code}</Code></Error>`);
    });
  });
  service.listen(0, "127.0.0.1");
  await once(service, "listening");
  onTestFinished(() => {
    service.closeAllConnections();
    service.close();
  });
  const { port } = service.address() as AddressInfo;
  return { ...server.settings, endpoint: `http://127.0.0.1:${port}`, seen };
}

test("an upload that the service refuses for the moment is sent again, whole", async () => {
  const store = await createS3Objects(await answering([503, "SlowDown"], 500, 200));
  await store.put(name, file());
});

test("a service without room is a store without room", async () => {
  const store = await createS3Objects(await answering([507, "XMinioStorageFull"]));
  await expect(store.put(name, file())).rejects.toMatchObject({
    code: "storage_full",
    status: 507,
  });
});

test("each upload names the SHA-256 of its body under the signature, so that a damaged one is refused", async () => {
  const service = await answering(200);
  const store = await createS3Objects(service);
  await store.put(name, file());
  expect(service.seen[0]).toMatchObject({
    "x-amz-content-sha256": name.object,
    "content-length": "7",
    authorization: expect.stringContaining("x-amz-content-sha256"),
  });
});
