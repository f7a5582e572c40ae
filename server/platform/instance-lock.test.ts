import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { acquireInstanceLock } from "./instance-lock.ts";
import { hear, kill, makeTestFolder, ordinaryUser, runScript } from "./postgres-server/fixture.ts";

type Said = { pid?: number; code?: string; publicMessage?: string; hint?: string };

// Takes the lock when told to by a line on stdin, says how it went, and holds it until it is killed.
function runHolder(dataDir: string, spawnOptions = {}): ReturnType<typeof runScript> {
  return runScript(
    `const { acquireInstanceLock } = await load("instance-lock.ts");
    process.stdin.once("data", async () => {
      try {
        const lock = await acquireInstanceLock(${JSON.stringify(dataDir)});
        await lock.setAddress("http://localhost:4000");
        say({ pid: process.pid });
      } catch (error) {
        sayError(error);
      }
    });
    say("ready");`,
    spawnOptions,
  );
}

async function startHolder(dataDir: string): Promise<ReturnType<typeof runScript>> {
  const holder = runHolder(dataDir);
  expect(await hear(holder)).toBe("ready");
  holder.child.stdin?.write("go\n");
  expect(await hear<Said>(holder)).toEqual({ pid: holder.child.pid });
  return holder;
}

test("a second instance on the same folder is refused with the pid and address of the first", async () => {
  const dataDir = await makeTestFolder();
  const holder = await startHolder(dataDir);
  await expect(acquireInstanceLock(dataDir)).rejects.toMatchObject({
    code: "instance_running",
    publicMessage: `Guildhall already runs on the data folder ${dataDir}: process ${holder.child.pid} at http://localhost:4000.`,
    hint: expect.stringContaining(`kill ${holder.child.pid}`),
  });
});

test("the same process cannot take the lock twice, and can again after it released it", async () => {
  const dataDir = await makeTestFolder();
  const first = await acquireInstanceLock(dataDir);
  await expect(acquireInstanceLock(dataDir)).rejects.toMatchObject({ code: "instance_running" });
  await first.release();
  const second = await acquireInstanceLock(dataDir);
  await first.release();
  await first.setAddress("http://localhost:1");
  await expect(acquireInstanceLock(dataDir)).rejects.toMatchObject({ code: "instance_running" });
  await second.release();
  expect(await readdir(dataDir)).toEqual([]);
});

test("the lock of a killed process is taken over", async () => {
  const dataDir = await makeTestFolder();
  const holder = await startHolder(dataDir);
  await kill(holder.child);
  const lock = await acquireInstanceLock(dataDir);
  const text = await readFile(join(dataDir, "instance.lock"), "utf8");
  expect(JSON.parse(text)).toMatchObject({ pid: process.pid });
  await lock.release();
});

test("a lock is taken over when its pid now belongs to another process", async () => {
  const dataDir = await makeTestFolder();
  await startHolder(dataDir);
  const file = join(dataDir, "instance.lock");
  const record = JSON.parse(await readFile(file, "utf8")) as { startTime: string };
  await writeFile(file, JSON.stringify({ ...record, startTime: `${record.startTime}0` }));
  const lock = await acquireInstanceLock(dataDir);
  await lock.release();
});

test.each(["", "{", "null", '{"pid":"1"}'])(
  "a broken lock file holds nobody back: %j",
  async (text) => {
    const dataDir = await makeTestFolder();
    await writeFile(join(dataDir, "instance.lock"), text);
    const lock = await acquireInstanceLock(dataDir);
    await lock.release();
  },
);

test("a process killed in the middle of a takeover blocks nobody", async () => {
  const dataDir = await makeTestFolder();
  const holder = await startHolder(dataDir);
  await kill(holder.child);
  const dead = await readFile(join(dataDir, "instance.lock"), "utf8");
  await writeFile(join(dataDir, "instance.lock.takeover"), dead);
  await writeFile(join(dataDir, "instance.lock.takeover.takeover"), dead);
  const lock = await acquireInstanceLock(dataDir);
  expect(await readdir(dataDir)).toEqual(["instance.lock"]);
  await lock.release();
});

test("of many processes that find the same stale lock exactly one takes it over", async () => {
  const dataDir = await makeTestFolder();
  const contenders = Array.from({ length: 6 }, () => runHolder(dataDir));
  await Promise.all(contenders.map((contender) => hear(contender)));
  await writeFile(join(dataDir, "instance.lock"), JSON.stringify({ pid: 2 ** 30, startTime: "0" }));
  for (const { child } of contenders) child.stdin?.write("go\n");
  const said = await Promise.all(contenders.map((contender) => hear<Said>(contender)));
  const winners = said.filter((one) => one.pid !== undefined);
  expect(winners).toHaveLength(1);
  expect(said.filter((one) => one.code === "instance_running")).toHaveLength(5);
  await expect(acquireInstanceLock(dataDir)).rejects.toMatchObject({
    code: "instance_running",
    extensions: { pid: winners[0]!.pid },
  });
});

test("a folder without write permission is named together with the fix", async () => {
  const dataDir = await makeTestFolder(0o555);
  const holder = runHolder(dataDir, ordinaryUser);
  await hear(holder);
  holder.child.stdin?.write("go\n");
  expect(await hear<Said>(holder)).toEqual({
    code: "data_folder_not_writable",
    publicMessage: `Guildhall may not write to the data folder ${dataDir}.`,
    hint: expect.stringContaining("sudo chown -R"),
  });
});
