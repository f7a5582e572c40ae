import { describe, expect, test } from "vitest";
import { z } from "zod";
import { AppError } from "../platform/errors.ts";
import { openTestFolder, resultOf } from "./fixture.ts";
import { maxResultBytes } from "./result-text.ts";
import { createToolRegistry, defineTool, type SealedTool, type ToolContext } from "./tools.ts";

function toolThat(
  run: (input: { n: number }, ctx: ToolContext) => Promise<string>,
  name = "probe",
): SealedTool {
  return defineTool({
    name,
    description: "A probe.",
    input: z.strictObject({ n: z.int().min(1).describe("How many.") }),
    effect: "read",
    permission: "files:read",
    costRule: "free",
    run: async (input, ctx) => ({ isError: false, content: await run(input, ctx), summary: "ran" }),
  });
}

async function openRegistry(...tools: SealedTool[]) {
  const { folder } = await openTestFolder();
  const unexpected: { tool: string; error: unknown }[] = [];
  const registry = createToolRegistry(tools, { onUnexpected: (report) => unexpected.push(report) });
  const controller = new AbortController();
  const ctx = { folder, signal: controller.signal, idempotencyKey: "call_1" };
  const call = async (input: unknown, name = "probe") =>
    resultOf(await registry.execute({ name, input, ctx }));
  return { registry, unexpected, controller, call };
}

describe("the tool registry", () => {
  test("definitions have the shape of the Messages protocol, in the order that was asked for", async () => {
    const { registry } = await openRegistry(
      toolThat(async () => "a", "first"),
      toolThat(async () => "b", "second"),
    );
    const schema = {
      type: "object",
      properties: { n: { type: "integer", minimum: 1, description: "How many." } },
      required: ["n"],
      additionalProperties: false,
    };
    expect(registry.definitions(["second", "first"])).toMatchObject([
      { name: "second", description: "A probe.", input_schema: schema },
      { name: "first", description: "A probe.", input_schema: schema },
    ]);
    expect(Object.keys(registry.definitions(["first"])[0]!).toSorted()).toEqual([
      "description",
      "input_schema",
      "name",
    ]);
    expect(() => registry.definitions(["third"])).toThrow("third");
    expect(registry.find("first")).toMatchObject({ effect: "read", permission: "files:read" });
    expect(registry.find("third")).toBeUndefined();
  });

  test("a tool gets its validated input and the context of the call", async () => {
    const { call } = await openRegistry(
      toolThat(async ({ n }, ctx) => `${n} ${ctx.idempotencyKey}`),
    );
    expect(await call({ n: 3 })).toEqual({ isError: false, content: "3 call_1", summary: "ran" });
  });

  test.each([
    [{}, "n: "],
    [{ n: "3" }, "n: "],
    [{ n: 0 }, "n: "],
    [{ n: 1, extra: true }, "extra"],
    [null, "object"],
    ["text", "object"],
  ])(
    "the input %j never reaches the tool, and the model is told what is wrong",
    async (input, told) => {
      let ran = false;
      const { call, unexpected } = await openRegistry(
        toolThat(async () => {
          ran = true;
          return "";
        }),
      );
      const result = await call(input);
      expect(result).toMatchObject({ isError: true, content: expect.stringContaining(told) });
      expect(result.content).toContain('"required":["n"]');
      expect(ran).toBe(false);
      expect(unexpected).toEqual([]);
    },
  );

  test("an unknown tool is answered with the names of the known ones", async () => {
    const { call } = await openRegistry(toolThat(async () => ""));
    expect(await call({ n: 1 }, "rm_rf")).toMatchObject({
      isError: true,
      content: 'There is no tool "rm_rf". The tools are: probe.',
    });
  });

  test("an expected failure is told with its hint, without what is for operators only", async () => {
    const { call, unexpected } = await openRegistry(
      toolThat(async () => {
        const told = { publicMessage: "The shelf is full.", hint: "Remove a book." };
        throw new AppError({ code: "shelf_full", status: 413, internal: "/srv/secret", ...told });
      }),
    );
    expect(await call({ n: 1 })).toEqual({
      isError: true,
      content: "The shelf is full. Remove a book.",
      summary: "probe failed: The shelf is full.",
    });
    expect(unexpected).toEqual([]);
  });

  test("an unexpected exception is reported, and the model sees nothing of its text", async () => {
    const error = new Error("EACCES /srv/guildhall/secret");
    const { call, unexpected } = await openRegistry(toolThat(() => Promise.reject(error)));
    const result = await call({ n: 1 });
    expect(result.isError).toBe(true);
    expect(JSON.stringify(result)).not.toContain("secret");
    expect(unexpected).toEqual([{ tool: "probe", error }]);
  });

  test("an abort passes through with the signal's reason, whatever the tool threw", async () => {
    const reason = new Error("task cancelled");
    const { call, controller, unexpected } = await openRegistry(
      toolThat(async () => {
        controller.abort(reason);
        throw new Error("something that broke because of it");
      }),
    );
    await expect(call({ n: 1 })).rejects.toBe(reason);
    await expect(call({ n: 1 })).rejects.toBe(reason);
    expect(unexpected).toEqual([]);
  });

  test("a result that is too long is cut between characters, and says so", async () => {
    const { call } = await openRegistry(toolThat(async ({ n }) => "é".repeat(n)));
    const fits = await call({ n: maxResultBytes / 2 });
    expect(fits.content).toBe("é".repeat(maxResultBytes / 2));
    const cut = await call({ n: maxResultBytes / 2 + 1 });
    expect(Buffer.byteLength(cut.content)).toBeLessThanOrEqual(maxResultBytes);
    expect(cut.content).toMatch(
      /^é+\n\[cut here: the result has 65538 bytes, \d+ of them are shown\./,
    );
  });

  test("two tools of one name, and a name that the protocol forbids, are refused at the start", () => {
    const tool = toolThat(async () => "");
    expect(() => createToolRegistry([tool, tool], { onUnexpected: () => undefined })).toThrow(
      "unique",
    );
    expect(() => toolThat(async () => "", "no spaces")).toThrow("valid tool name");
  });
});
