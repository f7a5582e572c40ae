import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * When process `pid` started, as an opaque string, or undefined when no such process is running.
 * A pid alone does not name a process, because the system reuses it; pid and start time together do.
 */
export async function findProcessStartTime(pid: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  return process.platform === "linux" ? findOnLinux(pid) : findByPs(pid);
}

async function findOnLinux(pid: number): Promise<string | undefined> {
  try {
    const [stat, bootId] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
    ]);
    // The command name (field 2) may itself hold spaces and brackets, so fields count from its closing one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state] = fields;
    // A zombie is dead; where pid 1 reaps nothing, as in many containers, it stays listed for good.
    if (state === "Z" || state === "X") return undefined;
    // Ticks count from boot, so the same pid and tick can come again after a reboot.
    return `${bootId.trim()}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

async function findByPs(pid: number): Promise<string | undefined> {
  try {
    const env = { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
    const { stdout } = await run("ps", ["-o", "stat=,lstart=", "-p", String(pid)], { env });
    const [state = "Z", ...startTime] = stdout.trim().split(/\s+/);
    return state.startsWith("Z") ? undefined : startTime.join(" ");
  } catch {
    return undefined;
  }
}
