/** A fault put into the code on purpose: some test must notice it. */
export type Mutant = {
  /** The fault, in the words of the design. */
  name: string;
  place: "kernel" | "database" | "gateway";
  /** Paths from the root of the repository. */
  file: string;
  edits: readonly { find: string; replace: string }[];
  /** The smallest test files that must notice. */
  tests: readonly string[];
};

const KERNEL = ["server/ledger/kernel.test.ts"];
const SCOPE = ["server/ledger/kernel-scope.test.ts"];
const ORACLE = ["server/ledger/kernel-oracle.test.ts"];
const AT_ONCE = ["server/ledger/ledger-concurrency.test.ts"];

const kernelFile = "server/ledger/kernel.ts";
const callsFile = "server/migrations/0005_ledger_calls.sql";

const inKernel: readonly Mutant[] = [
  {
    name: "check-then-add",
    place: "kernel",
    file: "server/ledger/kernel-levels.ts",
    edits: [
      {
        find: "level.limit - level.posted - level.held",
        replace: "level.limit - level.posted",
      },
    ],
    tests: SCOPE,
  },
  {
    name: "void-dispatched",
    place: "kernel",
    file: kernelFile,
    edits: [{ find: 'void: ["HELD"]', replace: 'void: ["HELD", "DISPATCHED"]' }],
    tests: SCOPE,
  },
  {
    name: "no fence",
    place: "kernel",
    file: kernelFile,
    edits: [{ find: "run.epoch === fence.epoch && ", replace: "" }],
    tests: KERNEL,
  },
  {
    name: "send-before-mark",
    place: "kernel",
    file: kernelFile,
    edits: [
      {
        find: 'if (found?.state !== "HELD" || found.ownerId',
        replace: "if (!found || found.ownerId",
      },
    ],
    tests: SCOPE,
  },
  {
    name: "settle twice",
    place: "kernel",
    file: kernelFile,
    edits: [
      {
        find: 'settled: ["DISPATCHED", "PROVISIONAL"]',
        replace: 'settled: ["DISPATCHED", "PROVISIONAL", "SETTLED"]',
      },
    ],
    tests: SCOPE,
  },
  {
    name: "settle by seen text",
    place: "kernel",
    file: kernelFile,
    edits: [
      {
        find: "(ask.actualNanoUsd ?? 0) : hold.amount;",
        replace: "(ask.actualNanoUsd ?? 0) : (ask.actualNanoUsd ?? 0);",
      },
    ],
    tests: SCOPE,
  },
  {
    name: "epoch >= for >",
    place: "kernel",
    file: kernelFile,
    edits: [
      {
        find: "run.epoch === fence.epoch && ",
        replace: "run.epoch >= fence.epoch && ",
      },
    ],
    tests: KERNEL,
  },
  {
    name: "reconcile trusts silence",
    place: "kernel",
    file: "server/ledger/kernel-reconcile.ts",
    edits: [
      {
        find: 'proof.kind === "report" && !isReportFinal',
        replace: 'proof.kind === "report" && state.processes.has(hold.ownerId) && !isReportFinal',
      },
    ],
    tests: SCOPE,
  },
  {
    name: "reconcile by a report of before the end",
    place: "kernel",
    file: "server/ledger/kernel-reconcile.ts",
    edits: [{ find: "endedAtMs < finalBeforeMs && ", replace: "" }],
    tests: KERNEL,
  },
];

const inDatabase: readonly Mutant[] = [
  {
    name: "check-then-add",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "(SELECT * FROM c ORDER BY",
        replace:
          "(SELECT c.*, (SELECT x.held FROM budgets x WHERE x.workspace_id = c.workspace_id AND x.id = c.id) AS held FROM c ORDER BY",
      },
      { find: "held = b.held + o.held_change", replace: "held = o.held + o.held_change" },
    ],
    tests: AT_ONCE,
  },
  {
    name: "check-then-add (of what is asked for together)",
    place: "database",
    file: callsFile,
    edits: [{ find: "b.posted + b.held > b.limit_amount", replace: "b.posted > b.limit_amount" }],
    tests: ORACLE,
  },
  {
    name: "void-dispatched",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "WHEN 'void' THEN h.state = 'HELD'",
        replace: "WHEN 'void' THEN h.state IN ('HELD', 'DISPATCHED')",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "no fence",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "x.id = i.run_id AND x.epoch = i.epoch AND x.state = 'claimed'",
        replace: "x.id = i.run_id AND x.state = 'claimed'",
      },
      {
        find: "AND x.epoch = i.epoch AND x.token_hash = i.token_hash",
        replace: "AND x.token_hash = i.token_hash",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "no fence (of the owner)",
    place: "database",
    file: callsFile,
    edits: [{ find: "AND h.owner_id = an_owner AND", replace: "AND" }],
    tests: ORACLE,
  },
  {
    name: "send-before-mark",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "AND h.owner_id = an_owner AND h.state = 'HELD';",
        replace: "AND h.owner_id = an_owner AND h.state IN ('HELD', 'VOID');",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "settle twice",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "WHEN 'settled' THEN h.state IN ('DISPATCHED', 'PROVISIONAL')",
        replace: "WHEN 'settled' THEN h.state IN ('DISPATCHED', 'PROVISIONAL', 'SETTLED')",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "settle by seen text",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "WHEN 'provisional' THEN h.amount ELSE 0 END AS charge",
        replace: "WHEN 'provisional' THEN least(i.actual, h.amount) ELSE 0 END AS charge",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "epoch >= for >",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "x.id = i.run_id AND x.epoch = i.epoch AND x.state = 'claimed'",
        replace: "x.id = i.run_id AND x.epoch >= i.epoch AND x.state = 'claimed'",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "epoch >= for > (stored answers)",
    place: "database",
    file: callsFile,
    edits: [{ find: "x.taken_epoch < an_epoch", replace: "x.taken_epoch <= an_epoch" }],
    tests: ["server/ledger/ledger.test.ts"],
  },
  {
    name: "reconcile trusts silence",
    place: "database",
    file: "server/migrations/0009_reconcile.sql",
    edits: [
      {
        find: "AND EXISTS (SELECT FROM ended_processes p WHERE p.id = h.owner_id AND p.ended_at < final_before)",
        replace: "AND NOT EXISTS (SELECT FROM processes p WHERE p.id = h.owner_id)",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "agent time that fits no more by itself",
    place: "database",
    file: "server/migrations/0013_agent_time_groups.sql",
    edits: [
      {
        find: "l.posted + l.held > l.limit_amount",
        replace: "l.held > l.limit_amount",
      },
    ],
    tests: ORACLE,
  },
  {
    name: "the period of the settlement for that of the admission",
    place: "database",
    file: callsFile,
    edits: [
      {
        find: "coalesce(l.new_usage, l.usage), l.request_hash, l.body_base64, l.budget_ids)::ended_hold)",
        replace:
          "coalesce(l.new_usage, l.usage), l.request_hash, l.body_base64, coalesce((SELECT p.budget_ids FROM spend_paths p WHERE p.workspace_id = l.workspace_id AND p.spender_id = l.run_id AND p.meter = 'model_cost' AND p.day = spend_day()), l.budget_ids))::ended_hold)",
      },
    ],
    tests: ORACLE,
  },
];

const inWindow: readonly Mutant[] = [
  {
    name: "window edge",
    place: "kernel",
    file: "server/ledger/request-window.ts",
    edits: [{ find: "const MINUTES_BEFORE = 60;", replace: "const MINUTES_BEFORE = 59;" }],
    tests: ["server/ledger/request-window.test.ts"],
  },
  {
    name: "window edge",
    place: "database",
    file: "server/migrations/0008_meters.sql",
    edits: [
      {
        find: "INTO given, nodes, first_minute FROM request_leases l WHERE l.workspace_id = workspace AND l.minute >= this_minute - 60;",
        replace:
          "INTO given, nodes, first_minute FROM request_leases l WHERE l.workspace_id = workspace AND l.minute > this_minute - 60;",
      },
    ],
    tests: ["server/ledger/request-leases.test.ts"],
  },
];

const usageFile = "server/gateway/answer/usage.ts";

const inGateway: readonly Mutant[] = [
  {
    name: "void-dispatched",
    place: "gateway",
    file: "server/gateway/budget/charges.ts",
    edits: [
      {
        find: "unknown: (hold, reason) => provisional(hold, { reason }),",
        replace: "unknown: (hold) => this_nothing(hold),",
      },
      {
        find: "  return {\n    nothing(hold) {",
        replace:
          '  const this_nothing = (hold: Hold) => settle(hold, { workspaceId: hold.workspaceId, holdId: hold.id, outcome: "settled", actualNanoUsd: 0 });\n  return {\n    nothing(hold) {',
      },
    ],
    tests: ["server/gateway/test/faults.test.ts"],
  },
  {
    name: "send-before-mark",
    place: "gateway",
    file: "server/gateway/budget/admission.ts",
    edits: [{ find: "dispatch: true,", replace: "dispatch: false," }],
    tests: ["server/gateway/test/kill.test.ts"],
  },
  {
    name: "settle by seen text",
    place: "gateway",
    file: "server/gateway/budget/charges.ts",
    edits: [
      {
        find: "return provisional(hold, { reason: verdict.reason, usage: outcome.usageRecord });",
        replace:
          'return settle(hold, { workspaceId: hold.workspaceId, holdId: hold.id, outcome: "settled", actualNanoUsd: Number(outcome.usageRecord["output_tokens"] ?? 0) * request.price.rates.outputNanoUsd });',
      },
    ],
    tests: ["server/gateway/test/faults.test.ts"],
  },
  {
    name: "float prices",
    place: "gateway",
    file: "server/gateway/request/prices.ts",
    edits: [
      {
        find: "tokens.outputTokens * rate.outputNanoUsd",
        replace: "tokens.outputTokens * (rate.outputNanoUsd / 1_000_000_000) * 1_000_000_000",
      },
    ],
    tests: ["server/gateway/request/prices.test.ts"],
  },
  {
    name: "missing iteration",
    place: "gateway",
    file: usageFile,
    edits: [
      {
        find: "return [largest(top, sum(messages)), ...others].reduce",
        replace: "return [largest(top, sum(messages))].reduce",
      },
    ],
    tests: ["server/gateway/answer/usage.test.ts"],
  },
  {
    name: "missing iteration (of the answer itself)",
    place: "gateway",
    file: usageFile,
    edits: [{ find: "[largest(top, sum(messages)), ...others]", replace: "[top, ...others]" }],
    tests: ["server/gateway/answer/usage.test.ts"],
  },
  {
    name: "cap from client body",
    place: "gateway",
    file: "server/gateway/request/request.ts",
    edits: [
      {
        find: 'if (maxTokens === undefined || maxTokens === fields["max_tokens"]) return whole;',
        replace: "if (maxTokens !== -1) return whole;",
      },
    ],
    tests: ["server/gateway/request/request.test.ts", "server/gateway/test/limits.test.ts"],
  },
];

/** All of them, by the place of the fault. */
export const mutants: readonly Mutant[] = [...inKernel, ...inDatabase, ...inWindow, ...inGateway];
