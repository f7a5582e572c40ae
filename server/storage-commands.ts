import { join, resolve } from "node:path";
import { bytes } from "@guildhall/cli/format.ts";
import type { Command } from "commander";
import { type CommandFrame, type Env, withInstallation } from "./command-frame.ts";
import type { AgreedQuota } from "./operator/storage-quota.ts";
import { readConfig } from "./platform/config.ts";
import { AppError } from "./platform/errors.ts";

/** As sizes of files are shown everywhere. */
const UNITS: Readonly<Record<string, number>> = { MB: 1_024 ** 2, GB: 1_024 ** 3, TB: 1_024 ** 4 };

/** `500MB`, `20GB`, `1.5TB`, none or default; bytes. */
export function readQuota(text: string): AgreedQuota {
  if (text === "default") return text;
  if (text === "none") return null;
  const [, number, unit] = /^(\d{1,6}(?:\.\d{1,3})?)(MB|GB|TB)$/i.exec(text) ?? [];
  const factor = UNITS[unit?.toUpperCase() ?? ""];
  if (number !== undefined && factor !== undefined) return Math.round(Number(number) * factor);
  throw new AppError({
    code: "argument_invalid",
    status: 400,
    publicMessage: `${text} is no amount of storage.`,
    hint: "Give for example 500MB, 20GB or 1.5TB, or none, or default.",
  });
}

async function moveFiles(env: Env, json: boolean): Promise<void> {
  const config = readConfig(env);
  if (config.S3_BUCKET === undefined)
    throw new AppError({
      code: "argument_invalid",
      status: 400,
      publicMessage: "There is no bucket to move files into.",
      hint: "Set S3_BUCKET, and what belongs to it, as the server will have it.",
    });
  const { copyFilesInto } = await import("./operator/move-files.ts");
  const { openObjects } = await import("./platform/file-store/open-file-store.ts");
  const filesFolder = join(resolve(config.GUILDHALL_DATA_DIR), "files");
  const objects = await openObjects(config, filesFolder);
  await withInstallation(env, async ({ db }) => {
    const moved = await copyFilesInto(objects, { db, filesFolder });
    const answer = json
      ? JSON.stringify(moved)
      : `${moved.copied} contents (${bytes(moved.bytes)}) copied into ${objects.description}; ${moved.missing} were not in ${filesFolder}`;
    process.stdout.write(`${answer}\n`);
  });
}

/** Shows what was agreed with a workspace, after `text` was agreed if there is one. */
async function agreeStorage(
  env: Env,
  { workspaceId, text, json }: { workspaceId: string; text: string | undefined; json: boolean },
): Promise<void> {
  const quota = text === undefined ? undefined : readQuota(text);
  const { readStorageAgreement, setStorageQuota } = await import("./operator/storage-quota.ts");
  await withInstallation(env, async ({ db }) => {
    const agreed = await db.withPlatform((tx) =>
      quota === undefined
        ? readStorageAgreement(tx, workspaceId)
        : setStorageQuota(tx, { workspaceId, quota, actor: "operator", origin: "local" }),
    );
    const answer = json
      ? JSON.stringify({
          workspace_id: workspaceId,
          quota: agreed.quota,
          used_bytes: agreed.usedBytes,
        })
      : `${workspaceId}: ${agreed.quota === null ? "no quota" : agreed.quota === "default" ? "the installation's quota" : bytes(agreed.quota)}; ${bytes(agreed.usedBytes)} are stored`;
    process.stdout.write(`${answer}\n`);
  });
}

/** `guildhall operator storage|move-files`: what a workspace may store, and where all of it lies. */
export function addStorageCommands(program: Command, frame: CommandFrame): void {
  const operator = program.commands.find((command) => command.name() === "operator");
  operator
    ?.command("storage <workspace> [quota]")
    .description(
      "what a workspace stores, and may store in files: 500MB, 20GB, none, or default for what STORAGE_QUOTA_BYTES gives to all",
    )
    .action((workspaceId: string, text: string | undefined, _options: object, command: Command) =>
      frame.orExplain(() =>
        agreeStorage(frame.env, { workspaceId, text, json: frame.wantsJson(command) }),
      ),
    );
  operator
    ?.command("move-files")
    .description("copy the files of the data folder into the bucket of S3_BUCKET; the folder stays")
    .action((_options: object, command: Command) =>
      frame.orExplain(() => moveFiles(frame.env, frame.wantsJson(command))),
    );
}
