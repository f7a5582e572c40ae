import { createSimulator } from "@guildhall/simulator/simulator.ts";
import { z } from "zod";
import { readSettings, sayReady } from "./child.ts";

/** The simulated provider in a process of its own: it knows nothing of the ledger and keeps its own meter. */
const settings = z
  .object({ seed: z.string(), firstByteMs: z.int(), perEventMs: z.int() })
  .parse(await readSettings());
const { seed, ...latency } = settings;
sayReady(await createSimulator({ seed, latency }).listen());
