import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import { asAccount, choosePostgresAccount } from "./account.ts";
import {
  cleanUp,
  hear,
  kill,
  makeTestFolder,
  query,
  runScript,
  startForTest,
  until,
} from "./fixture.ts";
import { stopProcess } from "./leftover.ts";
import { findProcessStartTime } from "../process-identity.ts";

test("a postmaster.pid whose number now belongs to another program of the same user holds nobody back", async () => {
  const dataDir = await makeTestFolder();
  const clusterDir = join(dataDir, "cluster");
  await (await startForTest({ dataDir })).stop();
  // Standing in the folder, as the shell of someone who looks around does.
  const account = asAccount(await choosePostgresAccount(clusterDir));
  const bystander = spawn("sleep", ["600"], { cwd: clusterDir, stdio: "ignore", ...account });
  cleanUp(() => kill(bystander));
  await writeFile(join(clusterDir, "postmaster.pid"), `${bystander.pid}\n${clusterDir}\n`);
  const server = await startForTest({ dataDir });
  expect(await query(server, "select 1 as one")).toEqual([{ one: 1 }]);
  expect(await findProcessStartTime(bystander.pid!)).toBeDefined();
});

test("a postmaster.pid of a dead process holds nobody back", async () => {
  const dataDir = await makeTestFolder();
  await (await startForTest({ dataDir })).stop();
  const file = join(dataDir, "cluster", "postmaster.pid");
  await writeFile(file, `${2 ** 22 - 1}\n${dataDir}/cluster\n`);
  await startForTest({ dataDir });
});

test("a backend that outlives its killed postmaster in a long statement is ended before the next start", async () => {
  const dataDir = await makeTestFolder();
  const first = await startForTest({ dataDir });
  await query(first, "create table busy (n int)");
  const client = new pg.Client({
    host: first.host,
    port: first.port,
    user: "postgres",
    password: first.password,
  });
  client.on("error", () => undefined);
  await client.connect();
  const backend = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
  // Counting never waits, so this backend does not notice the death of its postmaster by itself.
  const statement = client
    .query("select count(*) from generate_series(1, 1e6) a, generate_series(1, 1e6) b")
    .catch(() => "cut off");
  const active =
    "select 1 from pg_stat_activity where state = 'active' and query like 'select count%'";
  await until(async () => (await query(first, active)).length > 0);
  first.kill();
  await startForTest({ dataDir });
  expect(await findProcessStartTime(backend.rows[0]!.pid)).toBeUndefined();
  expect(await statement).toBe("cut off");
});

test("a process that ignores the first signal gets the next one", async () => {
  const script = runScript(
    `process.on("SIGINT", () => say("refused")); say("ready"); setInterval(() => 0, 1e6);`,
  );
  expect(await hear(script)).toBe("ready");
  await stopProcess(script.child.pid!, [
    { signal: "SIGINT", waitMs: 50 },
    { signal: "SIGKILL", waitMs: 60_000 },
  ]);
  expect(await findProcessStartTime(script.child.pid!)).toBeUndefined();
  expect(await hear(script)).toBe("refused");
});

test("a process that outlives the last signal is named, with the way to end it", async () => {
  const script = runScript(
    `process.on("SIGINT", () => 0); say("ready"); setInterval(() => 0, 1e6);`,
  );
  await hear(script);
  const pid = script.child.pid!;
  await expect(stopProcess(pid, [{ signal: "SIGINT", waitMs: 20 }])).rejects.toMatchObject({
    code: "postgres_left_running",
    hint: `Stop it with "sudo kill -INT ${pid}", then start again.`,
  });
  expect(await findProcessStartTime(pid)).toBeDefined();
});
