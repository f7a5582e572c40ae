import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { readCatalog } from "./catalog.ts";
import { prismaEnvironment } from "./environment.ts";
import { renderSchema } from "./render-schema.ts";

const { admin } = await createTestDatabase();
const folder = await mkdtemp(join(tmpdir(), "guildhall-prisma-"));
afterAll(() => rm(folder, { recursive: true }));
const committed = new URL("schema.prisma", import.meta.url);

/** Prisma's command line on a copy of the schema, with every way out to the network leading nowhere. */
async function prisma(...args: string[]): Promise<{ code: number | null; output: string }> {
  const copy = join(folder, "schema.prisma");
  await cp(committed, copy);
  const nowhere = "http://127.0.0.1:1";
  const child = spawn(
    process.execPath,
    [fileURLToPath(import.meta.resolve("prisma/build/index.js")), ...args, "--schema", copy],
    {
      env: {
        ...process.env,
        ...prismaEnvironment,
        HTTP_PROXY: nowhere,
        HTTPS_PROXY: nowhere,
        // Without a color, so that a failure reads well.
        NO_COLOR: "1",
      },
    },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

it("schema.prisma says what the migrated database is", async () => {
  expect(
    await readFile(committed, "utf8"),
    "schema.prisma is behind the migrations: run npm run schema",
  ).toBe(renderSchema(await readCatalog(admin)));
});

it.each([
  ["a column", "ALTER TABLE agents ADD COLUMN mood text"],
  ["a type", "ALTER TABLE agents ALTER COLUMN desk TYPE bigint"],
  ["a default", "ALTER TABLE agents ALTER COLUMN desk SET DEFAULT 1"],
  ["an optional column", "ALTER TABLE agents ALTER COLUMN voice DROP NOT NULL"],
  ["an index", "CREATE INDEX agents_desk ON agents (workspace_id, desk)"],
  [
    "the direction of an index",
    "CREATE INDEX agents_desk ON agents (workspace_id, desk DESC)",
    "CREATE INDEX agents_desk ON agents (workspace_id, desk)",
  ],
  [
    "the condition of an index",
    "CREATE INDEX agents_desk ON agents (desk) WHERE desk > 3",
    "CREATE INDEX agents_desk ON agents (desk)",
  ],
  ["a unique index", "CREATE UNIQUE INDEX agents_name ON agents (workspace_id, name)"],
  ["a check", "ALTER TABLE agents ADD CHECK (desk > 0)"],
  ["a key", "ALTER TABLE journal ADD FOREIGN KEY (workspace_id) REFERENCES workspaces"],
  ["a table", "CREATE TABLE rooms (id text PRIMARY KEY)"],
])("a change of %s in a migration changes the model", async (_what, change, instead = "") => {
  const modelAfter = async (sql: string): Promise<string> => {
    await admin.query("BEGIN");
    await admin.query(sql);
    const model = renderSchema(await readCatalog(admin));
    await admin.query("ROLLBACK");
    return model;
  };
  expect(await modelAfter(change)).not.toBe(await modelAfter(instead));
});

it("Prisma accepts the model, formatted as Prisma would", async () => {
  expect(await prisma("validate")).toMatchObject({ code: 0 });
  expect(await prisma("format", "--check")).toMatchObject({ code: 0 });
});

it("the client is generated without a network", async () => {
  expect(await prisma("generate")).toMatchObject({ code: 0 });
  expect(await readFile(join(folder, "generated/client.ts"), "utf8")).toContain("PrismaClient");
});
