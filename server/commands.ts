import type { Command } from "commander";
import { type Env, withInstallation } from "./command-frame.ts";
import { addOperatorCommands } from "./operator-commands.ts";
import { orExplain } from "./explain.ts";
import { explainConfig } from "./platform/config.ts";
import { AppError } from "./platform/errors.ts";
import { addPlanCommands } from "./plan-commands.ts";
import { addStartCommands } from "./start-command.ts";
import { addStorageCommands } from "./storage-commands.ts";

// The server's own parts are loaded by the commands that need them: all of them together take 0.7 s, which every
// `guildhall task list` would pay.

async function checkLaws(env: Env, options: { quiet?: boolean; json?: boolean }): Promise<void> {
  const { verify } = await import("./operator/verify.ts");
  await withInstallation(env, async (installation) => {
    const results = await verify(installation.db, { quiet: options.quiet ?? false });
    if (options.json) process.stdout.write(`${JSON.stringify({ data: results })}\n`);
    for (const result of options.json ? [] : results) {
      process.stdout.write(
        `${result.ok ? "✓" : "✖"} ${result.law} ${result.statement} (${result.checked} checked)\n`,
      );
      for (const violation of result.violations)
        process.stdout.write(`    ${JSON.stringify(violation)}\n`);
    }
    if (results.some((result) => !result.ok)) process.exitCode = 1;
  });
}

/** Reads every workspace's audit chain from its first line; one changed byte breaks it. */
async function checkAudit(env: Env, options: { json?: boolean }): Promise<void> {
  const { verifyAudit } = await import("./audit/audit.ts");
  await withInstallation(env, async (installation) => {
    const workspaces = await installation.db.withPlatform((tx) =>
      tx.query<{ workspace_id: string }>({
        text: "SELECT workspace_id FROM workspaces ORDER BY workspace_id",
        values: [],
      }),
    );
    for (const { workspace_id } of workspaces) {
      const verdict = await installation.db.withWorkspace(workspace_id, verifyAudit);
      if (!verdict.ok) process.exitCode = 1;
      const text = verdict.ok
        ? `✓ ${workspace_id} ${verdict.lines} lines, unbroken`
        : `✖ ${workspace_id} is broken at line ${verdict.brokenAt}`;
      process.stdout.write(
        `${options.json ? JSON.stringify({ workspace_id, ...verdict }) : text}\n`,
      );
    }
  });
}

type ProveFlags = {
  agents: string;
  budget: string;
  seconds: string;
  killEveryMs: string;
  seed: string;
};

function numberFlag(name: string, text: string, range: { least: number; most: number }): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= range.least && value <= range.most) return value;
  throw new AppError({
    code: "flag_invalid",
    status: 500,
    publicMessage: `--${name} ${text} is not possible.`,
    hint: `Give a number from ${range.least} to ${range.most}.`,
  });
}

/** The live demonstration that nobody spends more than the budget, and everybody can spend all of it. */
async function proveLimits(flags: ProveFlags, json: boolean): Promise<void> {
  const options = {
    agents: Math.round(numberFlag("agents", flags.agents, { least: 1, most: 1_000 })),
    budgetNanoUsd: Math.round(
      numberFlag("budget", flags.budget, { least: 0.01, most: 1_000 }) * 1e9,
    ),
    seconds: numberFlag("seconds", flags.seconds, { least: 1, most: 3_600 }),
    killEveryMs: numberFlag("kill-every-ms", flags.killEveryMs, { least: 100, most: 3_600_000 }),
    seed: Math.round(numberFlag("seed", flags.seed, { least: 0, most: 4_294_967_295 })),
  };
  const { proveLimits: run } = await import("./limits-prove.ts");
  const { renderProof } = await import("./operator/prove/proof.ts");
  const proof = await run({
    ...options,
    onProgress: (line) => void process.stderr.write(`▸ ${line}\n`),
  });
  process.stdout.write(json ? `${JSON.stringify(proof)}\n` : renderProof(proof));
  if (!proof.passed) process.exitCode = 1;
}

/** Prisma Studio until SIGINT or SIGTERM. */
async function openStudio(env: Env, options: { port?: string }): Promise<void> {
  const port = options.port === undefined ? undefined : Number(options.port);
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536))
    throw new AppError({
      code: "port_invalid",
      status: 500,
      publicMessage: `${options.port} is not a port.`,
      hint: "Give --port a number from 1 to 65535, or leave it out for a free one.",
    });
  const { startStudio } = await import("./studio.ts");
  await withInstallation(env, async (installation) => {
    const studio = await startStudio({
      databaseUrl: installation.platformUrl,
      ...(port === undefined ? {} : { port }),
    });
    for (const signal of ["SIGINT", "SIGTERM"] as const)
      process.once(signal, () => void studio.close());
    process.stdout.write(
      `▸ Prisma Studio  ${studio.url}  (all workspaces; any user of this machine can open it; Ctrl-C ends it)\n`,
    );
    await studio.ended;
  });
}

async function checkPriceTable(options: {
  against?: string;
  maxAge: string;
  json: boolean;
}): Promise<void> {
  const maxAgeDays = Number(options.maxAge);
  if (!Number.isInteger(maxAgeDays) || maxAgeDays < 1)
    throw new AppError({
      code: "days_invalid",
      status: 500,
      publicMessage: `${options.maxAge} is no number of days.`,
      hint: "Give --max-age a whole number from 1.",
    });
  const { renderPrices, reportPrices } = await import("./check-prices.ts");
  const today = new Date().toISOString().slice(0, 10);
  const report = await reportPrices({ against: options.against, maxAgeDays, today });
  process.stdout.write(
    options.json ? `${JSON.stringify({ data: report })}\n` : renderPrices(report),
  );
  if (!report.ok) process.exitCode = 1;
}

/** Models that are stopped because a call of theirs cost more than its bound. */
async function listFrozen(env: Env, json: boolean): Promise<void> {
  const { createFrozenModels } = await import("./gateway/budget/frozen-models.ts");
  await withInstallation(env, async (installation) => {
    const models = await createFrozenModels(installation.db).list();
    const lines = models.map(
      ({ combination, frozenAt, holdId, overrunNanoUsd }) =>
        `✖ ${combination}  since ${frozenAt.toISOString()}, by ${holdId}: ${overrunNanoUsd} nano-USD too much`,
    );
    const data = models.map(({ combination, frozenAt, holdId, overrunNanoUsd }) => ({
      combination,
      frozen_at: frozenAt,
      hold_id: holdId,
      overrun_nano_usd: overrunNanoUsd,
    }));
    if (json) process.stdout.write(`${JSON.stringify({ data })}\n`);
    else
      process.stdout.write(`${lines.length === 0 ? "✓ no model is stopped" : lines.join("\n")}\n`);
  });
}

async function liftFreeze(env: Env, combination: string): Promise<void> {
  const { liftFrozenModel } = await import("./gateway/budget/frozen-models.ts");
  const { announce } = await import("./platform/notices.ts");
  await withInstallation(env, async (installation) => {
    const lifted = await liftFrozenModel(installation.db, { combination, who: "operator" });
    if (!lifted)
      throw new AppError({
        code: "model_not_frozen",
        status: 404,
        publicMessage: `${combination} is not stopped.`,
        hint: "`guildhall models frozen` lists what is; give one of these as one argument, in quotes.",
      });
    await announce(installation.db, "models");
    process.stdout.write(`✓ calls with ${combination} pass again within seconds\n`);
  });
}

function printConfig(env: Env, json: boolean): void {
  const settings = explainConfig(env);
  if (json) process.stdout.write(`${JSON.stringify({ data: settings })}\n`);
  for (const setting of json ? [] : settings)
    process.stdout.write(
      `${setting.name}=${setting.value}  (${setting.source}) ${setting.description}\n`,
    );
}

/** `--json` is an option of the program, so that it may stand anywhere. */
function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<{ json?: boolean }>().json ?? false;
}

/** The commands that run on the installation's own machine: start, doctor, verify, prices, studio. */
export function addServerCommands(program: Command, env: Env): void {
  addStartCommands(program, { env, orExplain, wantsJson });
  program
    .command("doctor")
    .description("every setting, its value and where it came from")
    .action((_options: object, command: Command) =>
      orExplain(() => Promise.resolve(printConfig(env, wantsJson(command)))),
    );
  program
    .command("verify")
    .description("check the laws of the ledger, the runs and the events in the database")
    .option("--quiet", "also demand that nothing is reserved any more")
    .action((options: { quiet?: boolean }, command: Command) =>
      orExplain(() => checkLaws(env, { ...options, json: wantsJson(command) })),
    );
  program
    .command("limits")
    .description("the hard limits of this release")
    .command("prove")
    .description(
      "let agents race for a budget through gateways that are killed, and compare the ledger with the (simulated) provider's own meter",
    )
    .option("--agents <number>", "agents that ask at once", "200")
    .option("--budget <dollars>", "what they may spend together", "1.00")
    .option("--seconds <number>", "how long gateways are killed", "60")
    .option("--kill-every-ms <number>", "time between two kills", "2000")
    .option("--seed <number>", "of everything that is random", "1")
    .action((flags: ProveFlags, command: Command) =>
      orExplain(() => proveLimits(flags, wantsJson(command))),
    );
  program
    .command("audit")
    .description("who did what")
    .command("verify")
    .description("check that no line of the audit was changed, added or removed")
    .action((_options: object, command: Command) =>
      orExplain(() => checkAudit(env, { json: wantsJson(command) })),
    );
  addOperatorCommands(program, { env, orExplain, wantsJson });
  program
    .command("prices")
    .description("what models cost")
    .command("check")
    .description("check the price table: in itself, its age, and against a published list")
    .option("--against <file or URL>", "a published price list, as JSON")
    .option("--max-age <days>", "how old the source of a price may be", "90")
    .action((options: { against?: string; maxAge: string }, command: Command) =>
      orExplain(() => checkPriceTable({ ...options, json: wantsJson(command) })),
    );
  const models = program.command("models").description("models that are stopped");
  models
    .command("frozen")
    .description("models that are stopped because a call of theirs cost more than its bound")
    .action((_options: object, command: Command) =>
      orExplain(() => listFrozen(env, wantsJson(command))),
    );
  models
    .command("lift <combination>")
    .description("let calls of a stopped model pass again, after its price or bound was corrected")
    .action((combination: string) => orExplain(() => liftFreeze(env, combination)));
  program
    .command("studio")
    .description("look into the database with Prisma Studio, all workspaces")
    .option("--port <number>", "port of the page on 127.0.0.1; a free one by default")
    .action((options: { port?: string }) => orExplain(() => openStudio(env, options)));
  addPlanCommands(program, { env, orExplain, wantsJson });
  addStorageCommands(program, { env, orExplain, wantsJson });
}
