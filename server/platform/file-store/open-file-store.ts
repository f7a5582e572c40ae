import { join } from "node:path";
import type { Config } from "../config.ts";
import type { Db } from "../db.ts";
import type { Logger } from "../log.ts";
import { createFileStore, type FileStore } from "./file-store.ts";
import { createLocalObjects } from "./local-objects.ts";
import type { ObjectStore } from "./object-store.ts";
import type { S3Settings } from "./s3-errors.ts";
import { createS3Objects } from "./s3-objects.ts";

type StorageConfig = Pick<
  Config,
  | "STORAGE_QUOTA_BYTES"
  | "S3_BUCKET"
  | "S3_REGION"
  | "S3_ENDPOINT"
  | "S3_PATH_STYLE"
  | "S3_ACCESS_KEY_ID"
  | "S3_SECRET_ACCESS_KEY"
>;

function s3SettingsOf(config: StorageConfig): S3Settings | undefined {
  if (config.S3_BUCKET === undefined) return undefined;
  return {
    bucket: config.S3_BUCKET,
    region: config.S3_REGION,
    endpoint: config.S3_ENDPOINT,
    pathStyle: config.S3_PATH_STYLE === "1",
    keyId: config.S3_ACCESS_KEY_ID,
    secret: config.S3_SECRET_ACCESS_KEY,
  };
}

type Shared = { db: Db; log: Logger; quotaBytes?: number | undefined };

/** A store over `objects`. What is unfinished waits on the disk of local contents, so that it only gets its name there. */
export function fileStoreOver(
  objects: ObjectStore,
  { filesFolder, ...shared }: Shared & { filesFolder: string },
): FileStore {
  return createFileStore({ ...shared, objects, spoolFolder: join(filesFolder, ".incoming") });
}

/** A store on this machine's disk. */
export function createLocalFileStore(options: Shared & { filesFolder: string }): FileStore {
  return fileStoreOver(createLocalObjects({ root: options.filesFolder }), options);
}

/** The objects that the settings choose, once they have proved to work. Throws as `openFileStore` does. */
export async function openObjects(
  config: StorageConfig,
  filesFolder: string,
): Promise<ObjectStore> {
  const s3 = s3SettingsOf(config);
  const objects =
    s3 === undefined ? createLocalObjects({ root: filesFolder }) : await createS3Objects(s3);
  await objects.check();
  return objects;
}

/**
 * The file store that the settings choose: the disk, or a bucket when there is `S3_BUCKET`. Throws `AppError`
 * (`storage_not_usable`, `data_folder_not_writable`) with what to do when it cannot be worked with.
 */
export async function openFileStore(options: {
  config: StorageConfig;
  dataDir: string;
  db: Db;
  log: Logger;
}): Promise<{ files: FileStore; description: string }> {
  const { config, dataDir, db, log } = options;
  const filesFolder = join(dataDir, "files");
  const objects = await openObjects(config, filesFolder);
  const quotaBytes = config.STORAGE_QUOTA_BYTES === 0 ? undefined : config.STORAGE_QUOTA_BYTES;
  const files = fileStoreOver(objects, { db, log, filesFolder, quotaBytes });
  return { files, description: objects.description };
}
