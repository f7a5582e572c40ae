import { z } from "zod";
import { showBytes } from "../folder/quota.ts";
import { defineTool } from "../tools.ts";

export const writeFile = defineTool({
  name: "write_file",
  description:
    'Creates a text file, or replaces the whole of an existing one. Missing folders are made. "input" is read-only. ' +
    'The user can download what is written. Returns {"path","size_bytes"}.',
  input: z.strictObject({
    path: z.string().describe('For example "report.md" or "results/summary.csv".'),
    content: z.string().describe("The whole content of the file."),
  }),
  // The same call again leaves the same file behind.
  effect: "idempotent",
  permission: "files:write",
  costRule: "free",
  async run({ path, content }, { folder, signal }) {
    signal.throwIfAborted();
    const wrote = await folder.writeText(path, content);
    return {
      isError: false,
      content: JSON.stringify({ path: wrote.path, size_bytes: wrote.sizeBytes }),
      summary: `Wrote ${wrote.path} (${showBytes(wrote.sizeBytes)})`,
      wrote,
    };
  },
});
