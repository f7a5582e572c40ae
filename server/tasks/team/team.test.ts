import { describe, expect, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun } from "../../test/tenant.ts";
import { openTeam, type Seat } from "./team-fixture.ts";

const { db, admin } = await createTestDatabase();
const { registry, openOffice, startTask, startChild, delegated, eventData, count } = await openTeam(
  { db, admin },
);

const note = (to: string) => ({ to, subject: "Dates", body: "They are in UTC." });

describe("messages", () => {
  test("a message lies in the other agent's inbox until a task of that agent reads it, once", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const sent = await gray.read<{ message_id: string; to: string }>("send_message", note("Sable"));
    expect(sent).toEqual({ message_id: expect.stringMatching(/^msg_/), to: "sable" });
    expect(await eventData(gray, "message.sent")).toEqual([
      {
        message_id: sent.message_id,
        from_agent_id: "gray",
        to_agent_id: "sable",
        subject: "Dates",
      },
    ]);
    const sable = await startTask(office, "sable");
    expect(await sable.read("check_inbox", {})).toEqual({
      messages: [{ id: sent.message_id, from: "gray", subject: "Dates", body: "They are in UTC." }],
    });
    expect(await sable.read("check_inbox", {}, 2)).toEqual({ messages: [] });
    const other = await startTask(office, "sable");
    expect(await other.read("check_inbox", {})).toEqual({ messages: [] });
  });

  test("twenty executions of one call at once send one message and tell it once", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => gray.read("send_message", note("sable"))),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(await count("messages WHERE task_id = $1", gray.taskId)).toBe(1);
    expect(await eventData(gray, "message.sent")).toHaveLength(1);
  });

  test("reading again under the same key answers the same messages, not those that came since", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    await gray.read("send_message", note("sable"), 1);
    await gray.read("send_message", note("sable"), 2);
    const sable = await startTask(office, "sable");
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => sable.read("check_inbox", {})),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]).toMatchObject({ messages: [{ from: "gray" }, { from: "gray" }] });
    await gray.read("send_message", { ...note("sable"), subject: "Later" }, 3);
    const again = await sable.read<{ messages: unknown[]; unread: number }>("check_inbox", {});
    expect(again).toEqual({ ...(answers[0] as object), unread: 1 });
    expect(await sable.read("check_inbox", {}, 2)).toMatchObject({
      messages: [{ subject: "Later" }],
    });
  });

  test("two tasks of one agent that read at the same moment share the mail out", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    for (let step = 1; step <= 10; step++) await gray.read("send_message", note("sable"), step);
    const readers: Seat[] = [];
    for (let n = 0; n < 4; n++) readers.push(await startTask(office, "sable"));
    const inboxes = await Promise.all(
      readers.map((reader) => reader.read<{ messages: { id: string }[] }>("check_inbox", {})),
    );
    const ids = inboxes.flatMap((inbox) => inbox.messages.map((message) => message.id));
    expect(ids).toHaveLength(10);
    expect(new Set(ids).size).toBe(10);
  });

  test("mail that is too much for one result stays valid JSON and says what is left", async () => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const body = `\u0001${'"'.repeat(9_998)}x`;
    for (let step = 1; step <= 5; step++)
      await gray.read("send_message", { to: "sable", subject: "Long", body }, step);
    const sable = await startTask(office, "sable");
    const bodies: string[] = [];
    for (let step = 1; step <= 5; step++) {
      const inbox = await sable.read<{ messages: { body: string }[]; unread?: number }>(
        "check_inbox",
        {},
        step,
      );
      bodies.push(...inbox.messages.map((message) => message.body));
      expect(inbox.unread ?? 0).toBe(5 - bodies.length);
    }
    expect(bodies).toEqual(Array.from({ length: 5 }, () => body));
  });

  test("nobody outside of the workspace is reached, and nobody writes to himself", async () => {
    const office = await openOffice("gray", "sable");
    await openOffice("stranger");
    const gray = await startTask(office, "gray");
    const stranger = await gray.result("send_message", note("stranger"));
    expect(stranger).toMatchObject({ isError: true });
    expect(stranger.content).toBe('There is no agent "stranger". The agents are: sable.');
    const self = await gray.result("send_message", note("gray"), 2);
    expect(self).toMatchObject({ isError: true });
    expect(self.content).toContain("a message to yourself");
    expect(await count("messages WHERE workspace_id = $1", office.workspaceId)).toBe(0);
  });

  test("two agents exchange at most 20 messages in a task and what was delegated from it", async () => {
    const office = await openOffice("gray", "sable", "yuki");
    const gray = await startTask(office, "gray");
    for (let step = 1; step <= 19; step++) await gray.read("send_message", note("sable"), step);
    const child = await startChild(
      gray,
      await delegated(gray, { agent: "sable", prompt: "Look" }, 20),
    );
    await child.read("send_message", note("gray"), 1);
    const refused = await child.result("send_message", note("gray"), 2);
    expect(refused).toMatchObject({ isError: true });
    expect(refused.content).toContain("have exchanged 20 messages in this task");
    await child.read("send_message", note("yuki"), 3);
    await (await startTask(office, "gray")).read("send_message", note("sable"));
  });

  test("a chain of messages ends after six hops, round a ring of agents too", async () => {
    const ring = ["gray", "sable", "yuki"] as const;
    const office = await openOffice(...ring);
    for (let hop = 0; hop <= 7; hop++) {
      const seat = await startTask(office, ring[hop % 3]!);
      if (hop > 0) await seat.read("check_inbox", {}, 1);
      const sent = await seat.result("send_message", note(ring[(hop + 1) % 3]!), 2);
      expect(sent.isError, `hop ${hop}: ${sent.content}`).toBe(hop > 6);
      if (hop > 6) expect(sent.content).toContain("A chain of messages ends there");
    }
    const { rows } = await admin.query<{ hops: number; threads: number }>(
      "SELECT max(hops) AS hops, count(DISTINCT thread_id)::int AS threads FROM messages WHERE workspace_id = $1",
      [office.workspaceId],
    );
    expect(rows).toEqual([{ hops: 6, threads: 1 }]);
  });
});

describe("questions", () => {
  test("a question is asked once, however often and however parallel the call is executed", async () => {
    const office = await openOffice("marcus");
    const marcus = await startTask(office, "marcus");
    const ask = () => marcus.call("ask_human", { question: "Which year?" });
    const outcomes = await Promise.all(Array.from({ length: 20 }, ask));
    expect(new Set(outcomes.map((outcome) => JSON.stringify(outcome))).size).toBe(1);
    expect(outcomes[0]).toEqual({
      status: "park",
      reason: {
        kind: "question",
        question_id: expect.stringMatching(/^qst_/),
        question: "Which year?",
      },
    });
    expect(await count("questions WHERE task_id = $1", marcus.taskId)).toBe(1);
    await admin.query(
      "UPDATE questions SET answer = '2020', answered_at = now() WHERE task_id = $1",
      [marcus.taskId],
    );
    expect(await marcus.read("ask_human", { question: "Which year?" })).toEqual({ answer: "2020" });
  });
});

describe("an attempt that lost its lease", () => {
  test.each([
    ["send_message", note("sable")],
    ["check_inbox", {}],
    ["delegate_task", { agent: "sable", prompt: "Look" }],
    ["ask_human", { question: "Which year?" }],
  ])("%s has no effect and stops the run", async (name, input) => {
    const office = await openOffice("gray", "sable");
    const gray = await startTask(office, "gray");
    const sable = await startTask(office, "sable");
    await sable.read("send_message", note("gray"));
    await claimRun(admin, gray);
    await expect(gray.call(name, input)).rejects.toMatchObject({ name: "RunStopped" });
    expect(gray.lease.stopped()).toEqual({ kind: "lost" });
    expect(await count("messages WHERE task_id = $1", gray.taskId)).toBe(0);
    expect(
      await count(
        "messages WHERE to_agent_id = 'gray' AND read_at IS NOT NULL AND workspace_id = $1",
        office.workspaceId,
      ),
    ).toBe(0);
    expect(await count("tasks WHERE parent_task_id = $1", gray.taskId)).toBe(0);
    expect(await count("questions WHERE task_id = $1", gray.taskId)).toBe(0);
  });
});

test("where a run has no team the tools say so", async () => {
  const office = await openOffice("gray");
  const { folder, lease } = await startTask(office, "gray");
  const ctx = { folder, signal: lease.signal, idempotencyKey: "run_1/1" };
  const outcome = await registry.execute({ name: "check_inbox", input: {}, ctx });
  expect(outcome).toMatchObject({
    isError: true,
    content: expect.stringContaining("nobody to reach"),
  });
});
