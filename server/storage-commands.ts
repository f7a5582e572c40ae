import type { Command } from "commander";
import { type CommandFrame, withInstallation } from "./command-frame.ts";
import type { AgreedQuota } from "./operator/storage-quota.ts";
import { AppError } from "./platform/errors.ts";

const UNITS: Readonly<Record<string, number>> = { MB: 1e6, GB: 1e9, TB: 1e12 };

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

const show = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)} GB`;

/** `guildhall operator storage`: what a workspace may store. */
export function addStorageCommands(program: Command, frame: CommandFrame): void {
  const operator = program.commands.find((command) => command.name() === "operator");
  operator
    ?.command("storage <workspace> <quota>")
    .description(
      "what a workspace may store in files: 500MB, 20GB, none, or default for what STORAGE_QUOTA_BYTES gives to all",
    )
    .action((workspaceId: string, text: string, _options: object, command: Command) =>
      frame.orExplain(async () => {
        const quota = readQuota(text);
        const { setStorageQuota } = await import("./operator/storage-quota.ts");
        await withInstallation(frame.env, async ({ db }) => {
          const change = { workspaceId, quota, actor: "operator", origin: "local" };
          const { usedBytes } = await db.withPlatform((tx) => setStorageQuota(tx, change));
          const answer = frame.wantsJson(command)
            ? JSON.stringify({ workspace_id: workspaceId, quota, used_bytes: usedBytes })
            : `${workspaceId}: ${quota === null ? "no quota" : quota === "default" ? "the installation's quota" : show(quota)}; ${show(usedBytes)} are stored`;
          process.stdout.write(`${answer}\n`);
        });
      }),
    );
}
