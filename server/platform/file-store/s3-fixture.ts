import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Server } from "node:http";
import { Secret } from "../secret.ts";
import type { S3Settings } from "./s3-errors.ts";

type S3Server = { run(): Promise<AddressInfo>; httpServer: Server };
type ServerOptions = {
  address: string;
  port: number;
  silent: boolean;
  directory: string;
  configureBuckets: { name: string }[];
};

// The package has no types of its own.
const S3rver = createRequire(import.meta.url)("@20minutes/s3rver") as new (
  options: ServerOptions,
) => S3Server;

/** The one account of the server. */
export const s3Key = { keyId: "S3RVER", secret: new Secret("S3RVER") };

/** A server that speaks S3 over HTTP and checks signatures, in this process. */
export async function startS3(): Promise<{
  settings: S3Settings & { endpoint: string };
  /** Where it keeps the objects of its bucket. */
  folder: string;
  close(): Promise<void>;
}> {
  const directory = await mkdtemp(join(tmpdir(), "guildhall-s3-"));
  const bucket = "guildhall";
  const server = new S3rver({
    address: "127.0.0.1",
    port: 0,
    silent: true,
    directory,
    configureBuckets: [{ name: bucket }],
  });
  const { port } = await server.run();
  return {
    settings: {
      bucket,
      region: "us-east-1",
      endpoint: `http://127.0.0.1:${port}`,
      pathStyle: true,
      ...s3Key,
    },
    folder: join(directory, bucket),
    async close() {
      server.httpServer.closeAllConnections();
      await new Promise((resolve) => server.httpServer.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
