import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";

const { db } = await createTestDatabase();

it("a transaction that names no workspace is refused, also on a connection that was used before", async () => {
  await db.withWorkspace("ws_a", (tx) => tx.query({ text: "SELECT * FROM tasks", values: [] }));
  await expect(db.ledger({ text: "SELECT current_workspace()", values: [] })).rejects.toMatchObject(
    { code: "GH001" },
  );
});
