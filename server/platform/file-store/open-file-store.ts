import { join } from "node:path";
import type { Config } from "../config.ts";
import { createFileStore, type FileStore } from "./file-store.ts";
import { createLocalObjects } from "./local-objects.ts";
import type { ObjectStore } from "./object-store.ts";
import type { S3Settings } from "./s3-errors.ts";
import { createS3Objects } from "./s3-objects.ts";

type StorageConfig = Pick<
  Config,
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

export function fileStoreOver(objects: ObjectStore, filesFolder: string): FileStore {
  // On the disk of local contents, so that a finished one is only renamed.
  return createFileStore({ objects, spoolFolder: join(filesFolder, ".incoming") });
}

/** A store on this machine's disk. */
export function createLocalFileStore(filesFolder: string): FileStore {
  return fileStoreOver(createLocalObjects({ root: filesFolder }), filesFolder);
}

/**
 * The file store that the settings choose: the disk, or a bucket when there is `S3_BUCKET`. Throws `AppError`
 * (`storage_not_usable`, `data_folder_not_writable`) with what to do when it cannot be worked with.
 */
export async function openFileStore(
  config: StorageConfig,
  dataDir: string,
): Promise<{ files: FileStore; description: string }> {
  const filesFolder = join(dataDir, "files");
  const s3 = s3SettingsOf(config);
  const objects =
    s3 === undefined ? createLocalObjects({ root: filesFolder }) : await createS3Objects(s3);
  await objects.check();
  return { files: fileStoreOver(objects, filesFolder), description: objects.description };
}
