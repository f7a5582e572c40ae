/**
 * The slices of the server from the lowest to the highest. A slice imports only slices before it; files directly in
 * `server/` compose them and may see all. The lint rule and the test of the import graph both read this list.
 */
export const ranks = [
  "platform",
  "audit",
  "identity",
  "ledger",
  "gateway",
  "agents",
  "tools",
  "runtimes",
  "tasks",
  "workflows",
  "billing",
  "webhooks",
  "realtime",
  "operator",
] as const;

/** What each workspace of the repository may import of the others; `server` composes them all. */
export const packages = {
  sdk: [],
  cli: ["sdk"],
  web: ["sdk"],
  simulator: [],
  server: ["sdk", "cli", "simulator", "web"],
  bench: ["server", "simulator", "sdk"],
  faults: ["server", "simulator", "sdk"],
} as const satisfies Record<string, readonly string[]>;
