import type { FieldProblem } from "./errors.ts";

const MAX_REPORTED = 10;

/**
 * The strings of a parsed request that the database cannot hold: those with a NUL character or half of a surrogate
 * pair. Walks with a list of its own, for a request may be nested deeper than the stack.
 */
export function unstorableText(value: unknown, root: string): FieldProblem[] {
  const found: FieldProblem[] = [];
  const open: { value: unknown; path: string }[] = [{ value, path: root }];
  for (let next = open.pop(); next && found.length < MAX_REPORTED; next = open.pop()) {
    const { value: part, path } = next;
    if (typeof part === "string") {
      if (part.includes("\0")) found.push({ field: path, message: "contains a NUL character" });
      else if (!part.isWellFormed())
        found.push({ field: path, message: "is not valid Unicode (an unpaired surrogate)" });
    } else if (typeof part === "object" && part !== null) {
      for (const [key, child] of Object.entries(part)) {
        const name = key.isWellFormed() && !key.includes("\0") ? key : "?";
        open.push({ value: child, path: path === "" ? name : `${path}.${name}` });
      }
    }
  }
  return found;
}
