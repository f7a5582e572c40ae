import { execFileSync } from "node:child_process";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import { fastShutdown, stopProcess } from "./leftover.ts";
import { findProcessStartTime } from "../process-identity.ts";
import {
  cleanUp,
  hear,
  isRoot,
  kill,
  makeTestFolder,
  ordinaryUser,
  query,
  runScript,
  startForTest,
  until,
} from "./fixture.ts";

type Started = { pid: number; port: number; password: string };

// A process that starts a server, says where, and on SIGINT does `onInterrupt` before it stops the server.
function runOwner(dataDir: string, onInterrupt = ""): ReturnType<typeof runScript> {
  return runScript(
    `const { startEmbeddedPostgres } = await load("postgres-server/embedded-postgres.ts");
    const { Client } = need("pg");
    const query = async (sql) => {
      const client = new Client({ host: server.host, port: server.port, user: "postgres", password: server.password });
      await client.connect();
      const { rows } = await client.query(sql);
      await client.end();
      return rows;
    };
    const server = await startEmbeddedPostgres({
      dataDir: ${JSON.stringify(dataDir)}, settings: { fsync: "off" }, log: () => undefined,
    });
    process.once("SIGINT", async () => { ${onInterrupt}; await server.stop(); say("stopped"); });
    say({ pid: server.pid, port: server.port, password: server.password });`,
    { detached: true },
  );
}

// Should the test fail half way, the server must not outlive it.
async function hearStart(owner: ReturnType<typeof runScript>): Promise<Started> {
  const started = await hear<Started>(owner);
  cleanUp(() => stopProcess(started.pid, fastShutdown));
  return started;
}

async function addRow(server: Pick<Started, "port" | "password">): Promise<void> {
  await query(server, "create table if not exists kept (n int); insert into kept values (1)");
}

async function countRows(server: Pick<Started, "port" | "password">): Promise<unknown> {
  return (await query(server, "select count(*)::int as rows from kept"))[0]?.["rows"];
}

test("a new database is UTF8 in locale C with checksums and scram passwords, on 127.0.0.1 alone", async () => {
  const server = await startForTest({ dataDir: await makeTestFolder(), settings: {} });
  const [row] = await query(
    server,
    `select current_setting('server_encoding') as encoding, datcollate as collation, datctype as ctype,
       current_setting('data_checksums') as checksums, current_setting('fsync') as fsync,
       current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets,
       current_setting('server_version') as version,
       (select bool_and(auth_method = 'scram-sha-256') from pg_hba_file_rules) as scram_only
     from pg_database where datname = 'postgres'`,
  );
  expect(row).toEqual({
    encoding: "UTF8",
    collation: "C",
    ctype: "C",
    checksums: "on",
    fsync: "on",
    addresses: "127.0.0.1",
    sockets: "",
    version: server.version,
    scram_only: true,
  });
  await expect(query({ ...server, password: "wrong" }, "select 1")).rejects.toMatchObject({
    code: "28P01",
  });
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((one) => one && one.family === "IPv4" && !one.internal);
  if (outside) {
    const client = new pg.Client({ host: outside.address, port: server.port, user: "postgres" });
    await expect(client.connect()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  }
});

test("the superuser's password is kept in a file that only its owner may read", async () => {
  const dataDir = await makeTestFolder();
  const server = await startForTest({ dataDir });
  expect((await stat(join(dataDir, "superuser-password"))).mode & 0o777).toBe(0o600);
  expect((await stat(join(dataDir, "cluster"))).mode & 0o777).toBe(0o700);
  expect(server.password.length).toBeGreaterThanOrEqual(32);
});

test("what was committed is there after stop and start, under the same password", async () => {
  const dataDir = await makeTestFolder();
  const first = await startForTest({ dataDir });
  await addRow(first);
  await Promise.all([first.stop(), first.stop()]);
  expect(await findProcessStartTime(first.pid)).toBeUndefined();
  const second = await startForTest({ dataDir });
  expect(second.password).toBe(first.password);
  expect(await countRows(second)).toBe(1);
});

test("two servers of two folders run side by side", async () => {
  const [one, two] = await Promise.all([
    startForTest({ dataDir: await makeTestFolder() }),
    startForTest({ dataDir: await makeTestFolder() }),
  ]);
  expect(one.port).not.toBe(two.port);
  await addRow(one);
  await expect(countRows(two)).rejects.toMatchObject({ code: "42P01" });
});

test("stop rolls back an open transaction instead of waiting for it", async () => {
  const dataDir = await makeTestFolder();
  const server = await startForTest({ dataDir });
  await addRow(server);
  const client = new pg.Client({
    host: server.host,
    port: server.port,
    user: "postgres",
    password: server.password,
  });
  client.on("error", () => undefined);
  await client.connect();
  await client.query("begin; insert into kept values (2)");
  await server.stop();
  expect(await countRows(await startForTest({ dataDir }))).toBe(1);
});

test("a server that was killed recovers what was committed", async () => {
  const dataDir = await makeTestFolder();
  const first = await startForTest({ dataDir });
  await addRow(first);
  first.kill();
  const second = await startForTest({ dataDir });
  expect(await countRows(second)).toBe(1);
});

test("after kill -9 of its owner the server left behind is stopped, and its data are kept", async () => {
  const dataDir = await makeTestFolder();
  const owner = runOwner(dataDir);
  const orphan = await hearStart(owner);
  await addRow(orphan);
  await kill(owner.child);
  expect(await findProcessStartTime(orphan.pid)).toBeDefined();
  const server = await startForTest({ dataDir });
  expect(await findProcessStartTime(orphan.pid)).toBeUndefined();
  expect(server.lines).toContainEqual(expect.stringContaining(`stopping Postgres ${orphan.pid}`));
  expect(await countRows(server)).toBe(1);
});

test("Ctrl-C reaches the owner alone, who can still use the database before stopping it", async () => {
  const owner = runOwner(
    await makeTestFolder(),
    `const [row] = await query("select 'alive' as state"); say(row.state)`,
  );
  const server = await hearStart(owner);
  // A terminal sends SIGINT to the whole foreground process group, as a negative pid does.
  process.kill(-owner.child.pid!, "SIGINT");
  expect(await hear(owner)).toBe("alive");
  expect(await hear(owner)).toBe("stopped");
  expect(await findProcessStartTime(server.pid)).toBeUndefined();
});

test("the server inherits no secret from our environment, and its log holds no values of customers", async () => {
  process.env["GUILDHALL_TEST_SECRET"] = "sesame";
  cleanUp(() => delete process.env["GUILDHALL_TEST_SECRET"]);
  const server = await startForTest({ dataDir: await makeTestFolder() });
  await query(server, "create table env (line text); copy env from program 'env'");
  const rows = await query(server, "select string_agg(line, ' ') as env from env");
  expect(rows[0]?.["env"]).toContain("PATH=");
  expect(rows[0]?.["env"]).not.toContain("sesame");
  const duplicate = "create table u (v text unique); insert into u values ('private'), ('private')";
  await expect(query(server, duplicate)).rejects.toMatchObject({ code: "23505" });
  await until(() => server.lines.some((line) => line.startsWith("warn ERROR:  duplicate key")));
  expect(server.lines.join("\n")).not.toContain("private");
});

test("a server that ends by itself is reported as an error, and started again at the same place with what was committed", async () => {
  const server = await startForTest({ dataDir: await makeTestFolder() });
  await addRow(server);
  process.kill(server.pid, "SIGKILL");
  await until(() => server.lines.includes("error Postgres ended by itself (SIGKILL)"));
  await until(() => server.lines.includes("info Postgres runs again"));
  expect(await countRows(server)).toBe(1);
});

test("a server that cannot be started again is tried until it can, or nobody wants it any more", async () => {
  const dataDir = await makeTestFolder();
  const server = await startForTest({ dataDir });
  await addRow(server);
  const [here, away] = [join(dataDir, "cluster/global"), join(dataDir, "cluster/away")];
  const tries = (): number =>
    server.lines.filter((line) => line.startsWith("warn Postgres could not be started again"))
      .length;
  await rename(here, away);
  process.kill(server.pid, "SIGKILL");
  await until(() => tries() > 1);
  await rename(away, here);
  await until(() => server.lines.includes("info Postgres runs again"));
  expect(await countRows(server)).toBe(1);

  const other = await startForTest({ dataDir: await makeTestFolder() });
  process.kill(other.pid, "SIGKILL");
  await other.stop();
  await expect(query(other, "select 1")).rejects.toMatchObject({ code: "ECONNREFUSED" });
});

test("a server that ends leaves the one alone that somebody has started in its place meanwhile", async () => {
  const dataDir = await makeTestFolder();
  const first = await startForTest({ dataDir });
  await rm(dataDir, { recursive: true });
  await mkdir(dataDir);
  const second = await startForTest({ dataDir });
  await addRow(second);
  process.kill(first.pid, "SIGKILL");
  await until(() => first.lines.some((line) => line.includes("holds another database")));
  expect(await countRows(second)).toBe(1);
  expect(second.lines.filter((line) => line.startsWith("error"))).toEqual([]);
});

test("a setting that Postgres refuses is named, and no process stays behind", async () => {
  const dataDir = await makeTestFolder();
  const settings = { fsync: "off", shared_buffers: "many" };
  await expect(startForTest({ dataDir, settings })).rejects.toMatchObject({
    code: "postgres_start_failed",
    publicMessage: expect.stringContaining('invalid value for parameter "shared_buffers": "many"'),
  });
  expect(await stat(join(dataDir, "cluster", "postmaster.pid")).catch(() => "gone")).toBe("gone");
});

test.runIf(isRoot)("root's server runs as an unprivileged user who owns the data", async () => {
  const dataDir = await makeTestFolder();
  const server = await startForTest({ dataDir });
  const { uid } = await stat(join(dataDir, "cluster"));
  expect(uid).not.toBe(0);
  const shown = execFileSync("ps", ["-o", "uid=,gid=", "-p", String(server.pid)], {
    encoding: "utf8",
  });
  expect(shown.trim().split(/\s+/)).toEqual([String(uid), expect.not.stringMatching(/^0$/)]);
});

test("a folder without write permission is named together with the fix", async () => {
  const dataDir = await makeTestFolder(0o555);
  const script = runScript(
    `const { startEmbeddedPostgres } = await load("postgres-server/embedded-postgres.ts");
    await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, log: () => undefined }).catch(sayError);`,
    ordinaryUser,
  );
  expect(await hear(script)).toEqual({
    code: "data_folder_not_writable",
    publicMessage: `Guildhall may not write to the data folder ${dataDir}.`,
    hint: expect.stringContaining("sudo chown -R"),
  });
});
