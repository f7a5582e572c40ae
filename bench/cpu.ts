import { existsSync, readdirSync, readFileSync } from "node:fs";

/**
 * CPU time of a process and its children, those that ended included; milliseconds, by ticks of 10. NaN where there is no
 * `/proc`.
 */
export function cpuMsOf(root: number): number {
  if (!existsSync("/proc/self/stat")) return Number.NaN;
  let ticks = 0;
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The second field is the program's name, with any character in it.
      const fields = stat
        .slice(stat.lastIndexOf(")") + 2)
        .split(" ")
        .map(Number);
      const [, parent = 0] = fields;
      const [own = 0, ownSystem = 0, ended = 0, endedSystem = 0] = fields.slice(11);
      if (Number(name) === root) ticks += own + ownSystem + ended + endedSystem;
      else if (parent === root) ticks += own + ownSystem;
    } catch {
      // It has ended meanwhile.
    }
  }
  return ticks * 10;
}
