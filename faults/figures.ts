import { readFile } from "node:fs/promises";
import type { Db } from "../server/platform/db.ts";
import type { RoleProcess } from "../server/test/role-processes.ts";

/** Resident memory of the process, bytes. */
export async function residentBytes({ process }: RoleProcess): Promise<number> {
  const status = await readFile(`/proc/${process.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1_024;
}

/** What stands in the ledger for model calls, nano-USD. */
export async function postedNanoUsd(db: Db): Promise<number> {
  const [row] = await db.withPlatform((tx) =>
    tx.query<{ posted: number }>({
      text: "SELECT coalesce(sum(posted), 0)::float8 AS posted FROM holds",
      values: [],
    }),
  );
  return row?.posted ?? 0;
}
