import { exactUsd } from "../format/money.ts";

/** What the dialog would send, as far as it is filled in. */
export type TaskCommand = {
  agent: string;
  prompt: string;
  costLimitNanoUsd: number | undefined;
  /** ISO 8601. */
  startAfter?: string | undefined;
  /** Relative paths of the files that go with it. */
  paths: readonly string[];
};

/** One word for a POSIX shell, whatever it holds. */
function word(text: string): string {
  return /^[\w./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** The files and top folders that hold all `paths`, as they would be named beside the terminal. */
function sources(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => `./${path.split("/")[0] ?? path}`))];
}

/** The same task by the command line. */
export function asCli(task: TaskCommand): string {
  const parts = ["npx guildhall task run", `--agent ${word(task.agent)}`];
  for (const source of sources(task.paths)) parts.push(`--input ${word(source)}`);
  if (task.costLimitNanoUsd !== undefined) {
    parts.push(`--cost-limit ${exactUsd(task.costLimitNanoUsd)}`);
  }
  if (task.startAfter !== undefined) parts.push(`--start-after ${word(task.startAfter)}`);
  parts.push(word(task.prompt), "--follow");
  return parts.join(" \\\n  ");
}

/** The same task by HTTP. The key comes from the environment, so that the text can be shared. */
export function asCurl(task: TaskCommand, origin: string): string {
  const auth = `-H "authorization: Bearer $GUILDHALL_API_KEY"`;
  const lines: string[] = [];
  if (task.paths.length > 0) {
    const shown = task.paths.slice(0, 20);
    lines.push(
      `curl -s ${auth} ${origin}/v1/uploads`,
      ...shown.map((path) => `  -F ${word(`files=@${path};filename=${path}`)}`),
    );
    lines[lines.length - 1] += "  # answers the id that goes into upload_id";
  }
  const body = {
    agent: task.agent,
    prompt: task.prompt,
    ...(task.paths.length > 0 ? { upload_id: "upl_..." } : {}),
    ...(task.costLimitNanoUsd === undefined
      ? {}
      : { limits: { cost_nano_usd: task.costLimitNanoUsd } }),
    ...(task.startAfter === undefined ? {} : { start_after: task.startAfter }),
  };
  const upload = lines.join(" \\\n");
  const create = [
    `curl -s ${auth} ${origin}/v1/tasks`,
    `  -H "content-type: application/json" -H "idempotency-key: $(uuidgen)"`,
    `  -d ${word(JSON.stringify(body))}`,
  ].join(" \\\n");
  return upload === "" ? create : `${upload}\n${create}`;
}
