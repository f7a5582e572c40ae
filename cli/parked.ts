import type { LimitLevel, LimitMeter, LimitStop, Raiser } from "@guildhall/sdk/contract/limit.ts";
import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { bytes, duration, usd } from "./format.ts";

/** An amount in the unit of its meter. */
export function meterAmount(meter: LimitMeter, amount: number): string {
  if (meter === "model_cost") return usd(amount);
  if (meter === "storage_bytes") return bytes(amount);
  return meter === "agent_time" ? duration(amount) : String(amount);
}

const METER_NAMES: Readonly<Record<LimitMeter, string>> = {
  model_cost: "model budget",
  agent_time: "agent time",
  concurrent_tasks: "tasks at once",
  api_requests: "API requests",
  members: "members",
  model_calls: "model calls",
  tool_calls: "tool calls",
  storage_bytes: "stored files",
};

export const meterName = (meter: LimitMeter): string => METER_NAMES[meter];

const LEVEL_NAMES: Readonly<Record<LimitLevel, string>> = {
  run: "run",
  task: "task",
  agent: "agent",
  key: "API key",
  workspace: "workspace",
  owner: "billing account",
  platform: "installation",
};

/** The limited thing: `agent Sable Chen`. */
export function scopeText(scope: { level: LimitLevel; scope_name: string | null }): string {
  const level = LEVEL_NAMES[scope.level];
  return scope.scope_name === null ? level : `${level} ${scope.scope_name}`;
}

const RAISER_NAMES: Readonly<Record<Raiser, string>> = {
  owner: "an owner",
  admin: "an admin",
  member: "a member",
  viewer: "a viewer",
  payer: "whoever pays for the workspace",
  operator: "whoever runs this installation",
};

export function raisersText(raisers: readonly Raiser[]): string {
  return raisers.map((raiser) => RAISER_NAMES[raiser]).join(" or ");
}

/** A moment in UTC, as periods turn: `2026-12-01 00:00 UTC`. */
export function utcMinute(iso: string): string {
  return `${iso.slice(0, 16).replace("T", " ")} UTC`;
}

/** The command that raises a limit; undefined where the workspace cannot. */
function raiseCommand(stop: LimitStop): string | undefined {
  const amount =
    stop.meter === "model_cost" ? "<usd>" : stop.meter === "agent_time" ? "<minutes>" : "<count>";
  const meter = stop.meter === "model_cost" ? "" : ` --meter ${stop.meter}`;
  switch (stop.level) {
    case "task":
    case "agent":
    case "key":
      return `guildhall limit set ${amount}${meter} --${stop.level} ${stop.scope_id}`;
    case "workspace":
      return `guildhall limit set ${amount}${meter}`;
    default:
      return undefined;
  }
}

function figures(stop: LimitStop): string {
  const amount = (value: number): string => meterAmount(stop.meter, value);
  const needed = `the next step needs ${amount(stop.needed)}`;
  if (stop.limit === null)
    return `this workspace used ${amount(stop.posted)} and holds ${amount(stop.held)}, ${needed}`;
  return `${amount(stop.posted)} used and ${amount(stop.held)} held of ${amount(stop.limit)}, ${amount(stop.left ?? 0)} left, ${needed}`;
}

function limitLines(stop: LimitStop): string[] {
  const what = `${meterName(stop.meter)} of the ${scopeText(stop)}`;
  const first =
    stop.status === "reserved"
      ? `❚❚ paused, reserved: open calls hold the rest, ${what}: ${figures(stop)}.`
      : `❚❚ paused, exhausted: the limit is reached, ${what}: ${figures(stop)}.`;
  const turns = stop.resets_at === null ? [] : [`  The period turns ${utcMinute(stop.resets_at)}.`];
  if (stop.status === "reserved")
    return [first, "  Nothing is lost; it goes on by itself when those calls end.", ...turns];
  const command = raiseCommand(stop);
  return [
    first,
    `  Nothing is lost; it goes on by itself when the limit is raised${stop.resets_at === null ? "" : " or the period turns"}.`,
    ...turns,
    `  Raised by ${raisersText(stop.raised_by)}${command === undefined ? "." : `:\n  ${command}`}`,
  ];
}

/** Why a task does not go on, and what lets it. */
export function parkedLine(parked: Parked): string {
  switch (parked.kind) {
    case "question":
      return `? ${parked.question}\n  Answer with: guildhall task answer ${parked.question_id} "…"`;
    case "child":
      return `⧗ waits for the delegated task ${parked.child_task_id}`;
    case "limit":
      return limitLines(parked).join("\n");
    case "unpriced":
      return `❚❚ paused, unpriced: ${parked.model} has no price, so its cost cannot be limited.\n  Nothing is lost; it goes on by itself when ${raisersText(parked.raised_by)} adds the price, or gives the agent another model.`;
    case "suspended":
      return `❚❚ paused, suspended: the whole workspace is stopped (${parked.reason}).\n  Nothing is lost; it goes on by itself when ${raisersText(parked.raised_by)} lifts that.`;
  }
}
