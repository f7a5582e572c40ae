import { expect, it, onTestFinished, vi } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { testPasswordOf } from "../test/postgres.ts";
import { createLogger } from "./log.ts";
import { announce, createNotices, type Notices, type Topic, topics } from "./notices.ts";

/** A busy machine takes its time. */
const until = (look: () => boolean | Promise<boolean>) => vi.waitUntil(look, 20_000);

const { admin, db, ownerUrl, dropConnections } = await createTestDatabase();

function appUrl(): string {
  const url = new URL(ownerUrl);
  url.username = "guildhall_app";
  url.password = testPasswordOf("guildhall_app");
  return url.href;
}

type Heard = { topic: Topic; key: string | undefined };

/** One process, and everything that it hears. */
async function startProcess(): Promise<Notices & { heard: Heard[] }> {
  const notices = createNotices({ url: appUrl(), log: createLogger({ level: "silent" }) });
  const heard: Heard[] = [];
  for (const topic of topics) notices.on(topic, (key) => heard.push({ topic, key }));
  onTestFinished(() => notices.close());
  await notices.start();
  return { ...notices, heard };
}

const keysOf = (heard: readonly Heard[], topic: Topic) =>
  heard.filter((notice) => notice.topic === topic).map(({ key }) => key);

async function listening(): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'guildhall_notices'",
  );
  return rows[0]?.n ?? 0;
}

it("what one process rings it hears at once and every other process hears once", async () => {
  const [first, second, third] = [await startProcess(), await startProcess(), await startProcess()];
  first.ring("events", "task_1");
  expect(first.heard).toEqual([{ topic: "events", key: "task_1" }]);
  for (const other of [second, third])
    await until(() => other.heard.length > 0 && other.heard[0]?.key === "task_1");
  second.ring("limits");
  await until(() => first.heard.length === 2 && third.heard.length === 2);
  expect(first.heard).toEqual([
    { topic: "events", key: "task_1" },
    { topic: "limits", key: undefined },
  ]);
  expect(second.heard).toEqual(third.heard);
});

it("many notices at once are few messages, each key once; a flood of keys becomes one notice of any", async () => {
  const [from, to] = [await startProcess(), await startProcess()];
  for (let round = 0; round < 20; round++)
    for (let n = 0; n < 50; n++) from.ring("events", `task_${n}`);
  from.ring("limits");
  await until(() => keysOf(to.heard, "limits").length > 0);
  expect(keysOf(to.heard, "events")).toEqual(Array.from({ length: 50 }, (_, n) => `task_${n}`));
  // Longer than one message of Postgres may be.
  for (let n = 0; n < 90; n++) from.ring("credentials", `task_${"x".repeat(200)}${n}`);
  await until(() => keysOf(to.heard, "credentials").length === 90);
  to.heard.length = 0;
  for (let n = 0; n < 10_000; n++) from.ring("events", `task_${n}`);
  await until(() => keysOf(to.heard, "events").includes(undefined));
  expect(to.heard.length).toBeLessThan(110);
});

it("after its connection was lost a process is told that anything may have happened, and hears again", async () => {
  const [from, to] = [await startProcess(), await startProcess()];
  await dropConnections();
  await until(() => topics.every((topic) => keysOf(to.heard, topic).includes(undefined)));
  await until(() => keysOf(from.heard, "models").length > 0);
  to.heard.length = 0;
  from.ring("events", "task_after");
  await until(() => keysOf(to.heard, "events").includes("task_after"));
});

it("what is rung while the database is away is told when it is back", async () => {
  const [from, to] = [await startProcess(), await startProcess()];
  await admin.query(
    "REVOKE CONNECT ON DATABASE " + new URL(ownerUrl).pathname.slice(1) + " FROM PUBLIC",
  );
  await dropConnections();
  await until(async () => (await listening()) === 0);
  to.heard.length = 0;
  from.ring("events", "task_away");
  await admin.query(
    "GRANT CONNECT ON DATABASE " + new URL(ownerUrl).pathname.slice(1) + " TO PUBLIC",
  );
  await until(() =>
    keysOf(to.heard, "events").some((key) => key === "task_away" || key === undefined),
  );
});

it("what cannot be read, or is of a newer release, disturbs nothing", async () => {
  const to = await startProcess();
  for (const text of ["", "{", "7", '{"from":"x"}', '{"from":"x","notices":[["limits"]]}'])
    await admin.query("SELECT pg_notify('guildhall_notices', $1)", [text]);
  await admin.query("SELECT pg_notify('guildhall_notices', $1)", [
    '{"from":"x","more":1,"notices":[["of a newer release","k"],["models",null]]}',
  ]);
  await until(() => to.heard.length > 0);
  expect(to.heard).toEqual([{ topic: "models", key: undefined }]);
});

it("a command that ends at once reaches the processes, and a closed process holds no connection", async () => {
  const before = await listening();
  const to = await startProcess();
  await announce(db, "credentials", "ws_1/key_1");
  await until(() => keysOf(to.heard, "credentials").includes("ws_1/key_1"));
  to.ring("limits");
  await to.close();
  await until(async () => (await listening()) === before);
});
