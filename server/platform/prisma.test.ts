import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createAgent, createContent, createTenant } from "../test/tenant.ts";
import type { WorkspaceTx } from "./db.ts";
import { newId } from "./ids.ts";
import { withPrisma } from "./prisma.ts";

const { db, admin } = await createTestDatabase();
const mine = await createTenant(admin, { agentId: "mine" });
const theirs = await createTenant(admin, { agentId: "theirs" });

it("Prisma sees the rows of its transaction's workspace only, whatever it asks for", async () => {
  const seen = await db.withWorkspace(mine.workspaceId, (tx) =>
    withPrisma(tx, async (prisma) => ({
      all: await prisma.agent.findMany({ select: { id: true } }),
      foreign: await prisma.agent.findMany({ where: { workspaceId: theirs.workspaceId } }),
      byKey: await prisma.agent.findUnique({
        where: { workspaceId_id: { workspaceId: theirs.workspaceId, id: "theirs" } },
      }),
      workspaces: await prisma.workspace.findMany({ include: { agents: true } }),
    })),
  );
  expect(seen).toMatchObject({ all: [{ id: "mine" }], foreign: [], byKey: null });
  expect(seen.workspaces).toMatchObject([
    { workspaceId: mine.workspaceId, agents: [{ id: "mine" }] },
  ]);
});

it("Prisma can neither write nor change a row of another workspace", async () => {
  await expect(
    db.withWorkspace(mine.workspaceId, (tx) =>
      withPrisma(tx, (prisma) =>
        prisma.upload.create({
          data: { workspaceId: theirs.workspaceId, id: newId("upl"), createdBy: "user:x" },
        }),
      ),
    ),
  ).rejects.toMatchObject({ code: "42501" });
  const changed = await db.withWorkspace(mine.workspaceId, (tx) =>
    withPrisma(tx, (prisma) =>
      prisma.agent.updateMany({
        where: { workspaceId: theirs.workspaceId },
        data: { name: "Taken" },
      }),
    ),
  );
  expect(changed.count).toBe(0);
});

it("reads of the same tick in two workspaces are never answered together", async () => {
  const read = (workspaceId: string) =>
    db.withWorkspace(workspaceId, (tx) =>
      withPrisma(tx, async (prisma) => {
        const keys = ["mine", "theirs"].flatMap((id) =>
          [mine, theirs].map((tenant) => ({ workspaceId: tenant.workspaceId, id })),
        );
        const found = await Promise.all(
          keys.map((key) => prisma.agent.findUnique({ where: { workspaceId_id: key } })),
        );
        return found.flatMap((agent) => agent?.id ?? []);
      }),
    );
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, n) => read((n % 2 === 0 ? mine : theirs).workspaceId)),
  );
  for (const [n, answer] of answers.entries())
    expect(answer).toEqual([n % 2 === 0 ? "mine" : "theirs"]);
});

it("Prisma without a workspace is refused: by the database, and before it is asked", async () => {
  const unnamed = db.withWorkspace(mine.workspaceId, async (tx) => {
    await tx.query({ text: "SELECT set_config('app.workspace_id', '', true)", values: [] });
    return withPrisma(tx, (prisma) => prisma.agent.findMany());
  });
  await expect(unnamed).rejects.toMatchObject({ code: "GH001" });

  const forged: WorkspaceTx = {
    workspaceId: mine.workspaceId,
    query: () => Promise.resolve([]),
  };
  await expect(withPrisma(forged, (prisma) => prisma.agent.findMany())).rejects.toThrow(
    /withWorkspace/,
  );
});

it("a transaction that has ended cannot be used through a Prisma that was kept", async () => {
  const kept = await db.withWorkspace(mine.workspaceId, (tx) =>
    withPrisma(tx, (prisma) => Promise.resolve({ read: () => prisma.agent.findMany() })),
  );
  await expect(kept.read()).rejects.toThrow(/[Tt]ransaction/);
});

it("Prisma and SQL share one transaction: each sees what the other wrote, and nothing stays of a failed one", async () => {
  const id = newId("upl");
  const key = { workspaceId: mine.workspaceId, id };
  const stop = new Error("thrown on purpose");
  const sha256 = await createContent(admin, mine, 1);
  const failed = db.withWorkspace(mine.workspaceId, async (tx) => {
    await tx.query({
      text: "INSERT INTO uploads (workspace_id, id, created_by) VALUES ($1, $2, 'user:x')",
      values: [mine.workspaceId, id],
    });
    await withPrisma(tx, async (prisma) => {
      await prisma.upload.findUniqueOrThrow({ where: { workspaceId_id: key } });
      await prisma.uploadFile.create({
        data: {
          workspaceId: mine.workspaceId,
          uploadId: id,
          path: "a",
          sizeBytes: 1n,
          sha256,
        },
      });
    });
    expect(
      await tx.query({ text: "SELECT path FROM upload_files WHERE upload_id = $1", values: [id] }),
    ).toEqual([{ path: "a" }]);
    throw stop;
  });
  await expect(failed).rejects.toBe(stop);
  expect((await admin.query("SELECT FROM uploads WHERE id = $1", [id])).rowCount).toBe(0);
});

it("a database error keeps its SQLSTATE, and an error of the caller's own stays the caller's", async () => {
  const again = (tx: WorkspaceTx) =>
    withPrisma(tx, (prisma) =>
      prisma.upload.create({
        data: { workspaceId: mine.workspaceId, id: "upl_twice", createdBy: "test" },
      }),
    );
  await db.withWorkspace(mine.workspaceId, again);
  await expect(db.withWorkspace(mine.workspaceId, again)).rejects.toMatchObject({ code: "23505" });
  const own = new Error("of the caller");
  await expect(
    db.withWorkspace(mine.workspaceId, (tx) => withPrisma(tx, () => Promise.reject(own))),
  ).rejects.toBe(own);
});

it("work that caught a database error is not taken for committed", async () => {
  const id = newId("upl");
  const quiet = db.withWorkspace(mine.workspaceId, (tx) =>
    withPrisma(tx, async (prisma) => {
      const upload = { workspaceId: mine.workspaceId, id, createdBy: "user:x" };
      await prisma.upload.create({ data: upload });
      await prisma.upload.create({ data: upload }).catch(() => undefined);
      return "done";
    }),
  );
  await expect(quiet).rejects.toMatchObject({ code: "23505" });
});

it("two transactions that lock each other out through Prisma both succeed", async () => {
  await createAgent(admin, { workspaceId: mine.workspaceId, agentId: "second" });
  let arrived = 0;
  let open = (): void => {};
  const bothHoldOne = new Promise<void>((resolve) => (open = resolve));
  let tries = 0;
  const rename = (first: string, second: string) =>
    db.withWorkspace(mine.workspaceId, (tx) =>
      withPrisma(tx, async (prisma) => {
        tries++;
        const to = (id: string) =>
          prisma.agent.update({
            where: { workspaceId_id: { workspaceId: mine.workspaceId, id } },
            data: { name: `by ${first}` },
          });
        await to(first);
        if (++arrived === 2) open();
        await bothHoldOne;
        await to(second);
      }),
    );
  await Promise.all([rename("mine", "second"), rename("second", "mine")]);
  expect(tries).toBe(3);
});

it("times are the same instants in a database whose own time zone is not UTC", async () => {
  const other = await createTestDatabase();
  await other.admin.query(
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Kolkata''', current_database()); END $$`,
  );
  const tenant = await createTenant(other.admin);
  const at = new Date("2026-03-04T05:06:07.890Z");
  const read = await other.db.withWorkspace(tenant.workspaceId, (tx) =>
    withPrisma(tx, async (prisma) => {
      await prisma.upload.create({
        data: {
          workspaceId: tenant.workspaceId,
          id: "upl_time",
          createdBy: "user:x",
          createdAt: at,
        },
      });
      const [row] = await tx.query<{ epoch_ms: number }>({
        text: "SELECT (extract(epoch FROM created_at) * 1000)::bigint AS epoch_ms FROM uploads",
        values: [],
      });
      const upload = await prisma.upload.findFirstOrThrow();
      return { stored: row?.epoch_ms, seen: upload.createdAt.getTime() };
    }),
  );
  expect(read).toEqual({ stored: at.getTime(), seen: at.getTime() });
});
