import { z } from "zod";

type RawIssue = Parameters<NonNullable<ReturnType<typeof z.config>["customError"]>>[0];

const kinds: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
};

function sized(count: number | bigint, origin: string): string {
  const unit = origin === "array" ? "entries" : "characters";
  return `${count} ${count === 1 ? (origin === "array" ? "entry" : "character") : unit}`;
}

function tooSmall(issue: Extract<RawIssue, { code: "too_small" }>): string {
  const { origin, minimum, inclusive } = issue;
  if (origin === "string" || origin === "array")
    return minimum === 1 ? "must not be empty" : `must have at least ${sized(minimum, origin)}`;
  return `must be ${inclusive ? "at least" : "more than"} ${minimum}`;
}

function tooBig(issue: Extract<RawIssue, { code: "too_big" }>): string {
  const { origin, maximum, inclusive } = issue;
  if (origin === "string" || origin === "array")
    return `must have at most ${sized(maximum, origin)}`;
  return `must be ${inclusive ? "at most" : "less than"} ${maximum}`;
}

/** What is wrong with a field, in words that follow its name; undefined leaves it to the schema library. */
function plainIssue(issue: RawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      if (issue.input === undefined) return "is required";
      return `must be ${kinds[issue.expected] ?? issue.expected}`;
    case "too_small":
      return tooSmall(issue);
    case "too_big":
      return tooBig(issue);
    case "invalid_value":
      return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.join(", ")}`;
    default:
      return undefined;
  }
}

/** Makes every schema of this process speak plainly. Call once, before requests and settings are read. */
export function speakPlainly(): void {
  z.config({ customError: plainIssue });
}
