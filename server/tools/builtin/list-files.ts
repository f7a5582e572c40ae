import { z } from "zod";
import { fitItems } from "../result-text.ts";
import { defineTool } from "../tools.ts";

const maxEntries = 500;

export const listFiles = defineTool({
  name: "list_files",
  description:
    'Lists files and folders, also in sub-folders, sorted by path. The files that the user uploaded are below "input". ' +
    `Returns {"entries":[{"path","type":"file"|"folder","size_bytes"}],"truncated"}; at most ${maxEntries} entries.`,
  input: z.strictObject({
    path: z
      .string()
      .optional()
      .describe('The folder to list, for example "input". Left out: everything.'),
  }),
  effect: "read",
  permission: "files:read",
  costRule: "free",
  async run({ path }, { folder, signal }) {
    const found = await folder.list({ path, limit: maxEntries, signal });
    const all = found.entries.map((entry) => ({
      path: entry.path,
      type: entry.type,
      size_bytes: entry.sizeBytes,
    }));
    const entries = fitItems(all);
    const truncated = found.truncated || entries.length < all.length;
    const where = path === undefined || path === "." ? "the folder" : path;
    const more = truncated ? ", more were left out" : "";
    return {
      isError: false,
      content: JSON.stringify({ entries, truncated }),
      summary: `Listed ${where} (${entries.length} ${entries.length === 1 ? "entry" : "entries"}${more})`,
    };
  },
});
