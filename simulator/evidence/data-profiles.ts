import { z } from "zod";
import type { Conversation } from "../personas/conversation.ts";
import { counted } from "./markdown.ts";
import { resultsOf } from "./tool-results.ts";

const cell = z.union([z.string(), z.number(), z.boolean()]).nullish();
const column = z.looseObject({
  name: z.string(),
  type: z.string(),
  null_count: z.number(),
  distinct_count: z.number().nullish(),
  min: cell,
  max: cell,
  mean: cell,
  top: z.array(z.looseObject({ value: cell, count: z.number() })).nullish(),
});
const profile = z.looseObject({
  path: z.string(),
  format: z.string().optional(),
  row_count: z.number(),
  column_count: z.number(),
  columns: z.array(column),
  duplicate_row_count: z.number().nullish(),
  issues: z.array(z.string()).nullish(),
});

export type DataColumn = z.infer<typeof column>;
export type DataProfile = z.infer<typeof profile>;

/** The profiles that `profile_data` gave, in order. */
export function dataProfiles(conversation: Conversation): DataProfile[] {
  return resultsOf(conversation, "profile_data", profile).map(({ value }) => value);
}

/** What deserves a second look in a profile: the tool's own issues, and what the figures show. */
export function suspicions(data: DataProfile): string[] {
  const found = [...(data.issues ?? [])];
  const told = found.join("\n").toLowerCase();
  if ((data.duplicate_row_count ?? 0) > 0 && !told.includes("duplicate"))
    found.push(counted(data.duplicate_row_count ?? 0, "duplicate row"));
  for (const entry of data.columns) {
    const named = told.includes(entry.name.toLowerCase());
    if (entry.null_count > 0 && !named)
      found.push(`${entry.name}: ${entry.null_count} of ${data.row_count} values are missing`);
    const { min } = entry;
    if (
      typeof min === "number" &&
      min < 0 &&
      !named &&
      /price|amount|qty|quantity|count|age|total|size|units/i.test(entry.name)
    )
      found.push(`${entry.name}: the smallest value is ${min}; a negative one is suspicious here`);
  }
  return found;
}
