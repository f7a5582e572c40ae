#!/usr/bin/env node
import { Command } from "commander";
import { exitCode } from "@guildhall/cli/exit.ts";
import { addClientCommands } from "@guildhall/cli/program.ts";
import { addServerCommands } from "./commands.ts";
import { VERSION } from "./version.ts";

// `guildhall task list | head` closes our output early; there is nothing left to say then.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(process.exitCode ?? exitCode.ok);
  throw error;
});

const program = new Command("guildhall")
  .description("Runs AI agents for many customers, with hard limits on what they can spend.")
  .version(VERSION)
  .addHelpText(
    "after",
    "\nExit codes: 0 ok, 1 failed, 2 wrong command line, 3 stopped at a limit, 4 not allowed in.",
  )
  // Help and version end well; everything else that commander refuses is a mistake in the command line. Commands
  // inherit this when they are added, so it comes first.
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage));
addServerCommands(program, process.env);
addClientCommands(program, process.env);
await program.parseAsync();
