import { z } from "zod";
import type { Profiler } from "../data/profile.ts";
import { counted } from "../data/wording.ts";
import { defineTool, type SealedTool } from "../tools.ts";

export function createProfileData({ profile }: { profile: Profiler }): SealedTool {
  return defineTool({
    name: "profile_data",
    description:
      "Computes figures over a whole table of data: CSV, TSV, JSON, NDJSON or Parquet. Returns " +
      '{"path","format","row_count","column_count","columns":[{"name","type","null_count","distinct_count","min","max","mean",' +
      '"top":[{"value","count"}]}],"duplicate_row_count","issues":[...]}. Counts are exact; "issues" names what looks wrong: ' +
      "missing values, duplicates, mixed types, outliers, rows that do not fit. Prefer it over reading a table line by line.",
    input: z.strictObject({ path: z.string().describe('For example "input/sales.csv".') }),
    effect: "read",
    permission: "data:read",
    costRule: "free",
    async run({ path }, { folder, signal }) {
      const result = await profile({ folder, path, signal });
      const rows = counted(result.row_count, "row");
      const columns = counted(result.column_count, "column");
      const issues = counted(result.issues.length, "issue");
      return {
        isError: false,
        content: JSON.stringify(result),
        summary: `Profiled ${result.path} (${rows}, ${columns}, ${issues})`,
      };
    },
  });
}
