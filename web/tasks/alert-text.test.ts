import { expect, it } from "vitest";
import type { Alert } from "@guildhall/sdk/contract/alert.ts";
import { alertText } from "./alert-text.ts";

const alert: Alert = {
  seq: 1,
  at: "2026-11-25T12:00:00Z",
  meter: "members",
  level: "workspace",
  scope_id: "ws_test",
  scope_name: null,
  period: "2026-11",
  limit_version: 1,
  kind: "used",
  percent: 80,
  limit: 1_000,
  amount: 800,
  unread: true,
};

it.each([
  [{}, "Workspace members: 80% of 1,000 used"],
  [
    { meter: "storage_bytes", limit: 10 * 1_024 ** 3 },
    "Workspace stored files: 80% of 10.0 GB used",
  ],
  [
    { meter: "storage_bytes", limit: 10 * 1_024 ** 3, percent: 100 },
    "Workspace stored files: the limit of 10.0 GB is reached",
  ],
  [{ meter: "model_cost", limit: 5_000_000_000 }, "Workspace model budget: 80% of $5.00 used"],
  [{ level: "owner", limit: null }, /by all workspaces together$/],
] as const)("an alert says its limit in the unit of its meter: %j", (changes, said) => {
  expect(alertText({ ...alert, ...changes })).toMatch(said);
});
