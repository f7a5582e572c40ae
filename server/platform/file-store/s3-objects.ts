import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import type { PutObjectCommand } from "@aws-sdk/client-s3";
import { invariant } from "../errors.ts";
import { newSecret } from "../ids.ts";
import { contentMissing, objectPath, type LocalFile, type ObjectStore } from "./object-store.ts";
import { failureOf, s3NotUsable, translatedS3, type S3Settings } from "./s3-errors.ts";

const CONNECT_TIMEOUT_MS = 3_000;
/** Silence after which a request is given up; a whole upload may take longer. */
const IDLE_TIMEOUT_MS = 30_000;
const RETRY_DELAYS_MS = [100, 500];

/** The client would warn on the console, of what its caller hears as an error. */
const say = (): void => undefined;
const silent = { trace: say, debug: say, info: say, warn: say, error: say };

async function openClient(settings: S3Settings) {
  // Loaded only where it is used: half a second and 20 MB.
  const sdk = await import("@aws-sdk/client-s3");
  const { keyId, secret, endpoint } = settings;
  const client = new sdk.S3Client({
    region: settings.region,
    forcePathStyle: settings.pathStyle,
    logger: silent,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(keyId === undefined || secret === undefined
      ? {}
      : { credentials: { accessKeyId: keyId, secretAccessKey: secret.reveal() } }),
    // Checksums beyond the signed SHA-256 change the body, and not every compatible service knows how.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS },
  });
  return { sdk, client };
}

/** Signs the SHA-256 that we know, so that the service refuses a body that is another one. */
function signContent(command: PutObjectCommand, sha256: string): void {
  command.middlewareStack.add(
    (next) => (args) => {
      const { request } = args;
      invariant(
        typeof request === "object" && request !== null && "headers" in request,
        "a request has headers",
      );
      Object.assign(request.headers as object, { "x-amz-content-sha256": sha256 });
      return next(args);
    },
    { step: "build", name: "signContent" },
  );
}

/** False for what will be answered the same again. */
function mayPass(error: unknown): boolean {
  const { status } = failureOf(error);
  return status === undefined || status >= 500 || status === 429 || status === 408;
}

type Opened = Awaited<ReturnType<typeof openClient>>;

function createRequests({ sdk, client }: Opened, bucket: string) {
  const keyOf = (name: Parameters<typeof objectPath>[0]) => ({
    Bucket: bucket,
    Key: objectPath(name),
  });

  /** The client repeats only what has no body, so this does, each time from the start of the file. */
  async function put(key: { Bucket: string; Key: string }, file: LocalFile): Promise<void> {
    for (let tries = 0; ; tries++) {
      const body = createReadStream(file.path);
      try {
        const command = new sdk.PutObjectCommand({
          ...key,
          Body: file.sizeBytes === 0 ? "" : body,
          ContentLength: file.sizeBytes,
        });
        signContent(command, file.sha256);
        await client.send(command);
        return;
      } catch (error) {
        const delayMs = RETRY_DELAYS_MS[tries];
        if (delayMs === undefined || !mayPass(error)) throw error;
        await delay(delayMs);
      } finally {
        body.destroy();
      }
    }
  }

  async function get(key: { Bucket: string; Key: string }): Promise<Readable> {
    const { Body } = await client.send(new sdk.GetObjectCommand(key));
    invariant(Body instanceof Readable, "a content comes as a stream");
    return Body;
  }
  return { keyOf, put, get };
}

const isMissing = (error: unknown): boolean => {
  const { name } = failureOf(error);
  return name === "NoSuchKey" || name === "NotFound";
};

/** Contents in a bucket of a service that speaks S3. */
export async function createS3Objects(settings: S3Settings): Promise<ObjectStore> {
  const opened = await openClient(settings);
  const { sdk, client } = opened;
  const { bucket, endpoint } = settings;
  const requests = createRequests(opened, bucket);

  async function attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw translatedS3(error);
    }
  }

  /** By doing it: a key that may write need not be allowed to look at the bucket itself. */
  async function probe(): Promise<void> {
    const text = newSecret();
    const key = { Bucket: bucket, Key: `probe/${text}` };
    await client.send(new sdk.PutObjectCommand({ ...key, Body: text }));
    const back = await buffer(await requests.get(key));
    invariant(back.toString() === text, "the file store answers what was stored");
    await client.send(new sdk.DeleteObjectCommand(key));
  }

  return {
    description: `bucket ${bucket} at ${endpoint === undefined ? "AWS" : new URL(endpoint).host}`,
    async check() {
      try {
        await probe();
      } catch (error) {
        throw s3NotUsable(error, settings);
      }
    },
    async put(name, file) {
      const key = requests.keyOf(name);
      await attempt(() => requests.put(key, file));
    },
    async open(name) {
      const key = requests.keyOf(name);
      return attempt(() =>
        requests.get(key).catch((error: unknown) => {
          throw isMissing(error) ? contentMissing(name, error) : error;
        }),
      );
    },
    async remove(name) {
      const key = requests.keyOf(name);
      await attempt(() => client.send(new sdk.DeleteObjectCommand(key)));
    },
  };
}
