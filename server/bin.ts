#!/usr/bin/env node
import { Command } from "commander";
import { addClientCommands } from "@guildhall/cli/program.ts";
import { addServerCommands } from "./commands.ts";

const program = new Command("guildhall").description(
  "Runs AI agents for many customers, with hard limits on what they can spend.",
);
addServerCommands(program, process.env);
addClientCommands(program, process.env);
await program.parseAsync();
