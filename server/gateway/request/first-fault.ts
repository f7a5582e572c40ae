import type { z } from "zod";

/** The first fault of a refused body: the deepest issue says most. */
export function firstFault(error: z.ZodError): { field: string; message: string } {
  const deepest = (issues: readonly z.core.$ZodIssue[], prefix: readonly PropertyKey[]): Fault[] =>
    issues.flatMap((issue) => {
      const path = [...prefix, ...issue.path];
      const own: Fault = { path, message: messageOf(issue), extra: keysOf(issue) };
      // A union that has its own words for the fault knows more than its branches do.
      if (issue.code !== "invalid_union" || issue.message !== "Invalid input") return [own];
      return [own, ...issue.errors.flatMap((errors) => deepest(errors, path))];
    });
  const faults = deepest(error.issues.slice(0, 1), []);
  const best = faults.reduce<Fault | undefined>(
    (a, b) => (a === undefined || depthOf(b) > depthOf(a) ? b : a),
    undefined,
  );
  return {
    field: [...(best?.path ?? []), ...(best?.extra ?? [])].map(String).join("."),
    message: best?.message ?? "is not valid",
  };
}

type Fault = { path: readonly PropertyKey[]; message: string; extra: readonly string[] };

function depthOf(fault: Fault): number {
  return fault.path.length + fault.extra.length;
}

function keysOf(issue: z.core.$ZodIssue): string[] {
  return issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.code === "unrecognized_keys"
    ? "this field is not accepted: what it costs is not known"
    : issue.message;
}
