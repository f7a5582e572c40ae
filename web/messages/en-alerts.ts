/** Alerts about limits, and a suspended workspace. */
export const alertMessages = {
  "limit.level.key": "API key",
  "alerts.title": "Alerts",
  "alerts.open": { one: "Alerts, {count} unread", other: "Alerts, {count} unread" },
  "alerts.none": "No limit has reached half of what it allows so far.",
  "alerts.readAll": "Mark all as read",
  "alerts.more": "Earlier ones",
  "alerts.unread": "unread",
  "alerts.dismiss": "Dismiss",
  "alerts.meter.model_cost": "model budget",
  "alerts.meter.agent_time": "agent time",
  "alerts.meter.concurrent_tasks": "tasks at once",
  "alerts.meter.api_requests": "API requests",
  "alerts.meter.members": "members",
  "alerts.meter.storage_bytes": "stored files",
  "alerts.used": "{whose} {meter}: {percent} of {limit} used",
  "alerts.reached": "{whose} {meter}: the limit of {limit} is reached",
  "alerts.demand": "{whose} {meter}: work asks for twice the limit of {limit}",
  "alerts.shared.used": "{whose} {meter}: {percent} of the limit used, by all workspaces together",
  "alerts.shared.reached": "{whose} {meter}: the limit is reached, by all workspaces together",
  "alerts.shared.demand": "{whose} {meter}: all workspaces together ask for twice the limit",

  "workspace.suspended": "This workspace is suspended",
  "workspace.suspended.operator":
    "The operator of this installation has suspended this workspace: no further call begins. Nothing is lost.",
  "workspace.suspended.margin_guard":
    "This workspace costs more than its plan allows this month: no further call begins. Work goes on when the month turns, or after the plan is changed.",
} as const;
