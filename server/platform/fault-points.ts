/** `FAULT_AT=name[:n]` kills this process at the n-th time that it reaches the point of that name (default: first). */
function readPlan(text: string | undefined): { name: string; hits: number } | undefined {
  if (text === undefined || text === "") return undefined;
  const [name = "", hits = "1"] = text.split(":");
  return { name, hits: Number(hits) };
}

const plan = readPlan(process.env["FAULT_AT"]);
let reached = 0;

/**
 * A place where a crash would hurt most, named so that a test can crash there. Without `FAULT_AT` it does nothing.
 * SIGKILL, because an exception could be caught and an exit could be tidied up after.
 */
export function faultPoint(name: string): void {
  if (plan === undefined || plan.name !== name) return;
  reached += 1;
  if (reached === plan.hits) process.kill(process.pid, "SIGKILL");
}
