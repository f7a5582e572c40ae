import { z } from "zod";
import { wrongProxy } from "./client-address.ts";
import { AppError, type FieldProblem } from "./errors.ts";
import { speakPlainly } from "./plain-issues.ts";
import { wrongRateLimit } from "./rate-policies.ts";
import { Secret } from "./secret.ts";

const secret = z
  .string()
  .min(1)
  .transform((text) => new Secret(text));
const port = z.coerce.number().int().min(0).max(65_535);
const nanoUsd = z.coerce.number().int().min(0);
const ms = z.coerce.number().int().min(1);

/** Gateways that are not told otherwise go by it, too: whoever looks for dead ones must wait as long as they do. */
export const GATEWAY_LEASE_DEFAULT_MS = 15_000;

/** Every setting, its meaning, unit and default. README's table and `guildhall doctor` are made from this. */
export const configSchema = z.object({
  GUILDHALL_DATA_DIR: z
    .string()
    .min(1)
    .default(".guildhall")
    .describe("Folder of the embedded database, uploaded files and run folders"),
  HOST: z
    .string()
    .min(1)
    .default("127.0.0.1")
    .describe("Address that the page and the API listen on"),
  PORT: port.default(4000).describe("Port of the page and the API"),
  GATEWAY_PORT: port.default(4001).describe("Port of the model gateway; 0 takes a free one"),
  PUBLIC_URL: z
    .url()
    .optional()
    .describe("Origin that people reach the page by, when it is not http://HOST:PORT"),
  GATEWAY_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ""))
    .optional()
    .describe(
      "Base URL that programs with an API key reach the gateway by, when it is not http://HOST:GATEWAY_PORT",
    ),
  GATEWAY_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ""))
    .optional()
    .describe(
      "Where workers reach the gateway, in a process with the role worker and without the role gateway",
    ),
  DATABASE_URL: z
    .string()
    .min(1)
    .optional()
    .describe("Postgres 16 or later; without it an embedded one is started"),
  DATABASE_DIRECT_URL: z
    .string()
    .min(1)
    .optional()
    .describe("The same database past a connection pooler, for migrations and LISTEN"),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/ })
    .transform((text) => new Secret(text))
    .optional()
    .describe(
      "Redis 7 with maxmemory-policy noeviction, which then wakes the workers (BullMQ) instead of LISTEN/NOTIFY",
    ),
  GUILDHALL_SECRET: secret
    .optional()
    .describe(
      "Root secret that other keys are derived from, at least 32 characters; made at the first start when absent",
    ),
  ANTHROPIC_API_KEY: secret.optional().describe("Key of the model provider; stays in the gateway"),
  MODEL_BASE_URL: z
    .url()
    .optional()
    .describe(
      "A server of the Messages protocol; default: the provider when there is a key, else the simulated model",
    ),
  DEFAULT_MODEL: z
    .string()
    .min(1)
    .default("claude-sonnet-5-5")
    .describe("Model of the built-in agents"),
  LOCAL_BUDGET_NANO_USD: z.coerce
    .number()
    .int()
    .min(1)
    .default(10_000_000_000)
    .describe("Monthly model budget of the local workspace when it is made, nano-USD"),
  WORKER_CONCURRENCY: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000)
    .default(16)
    .describe("Runs that one worker executes at once"),
  LEASE_MS: ms.default(8_000).describe("How long a claimed run stays with a silent worker"),
  HEARTBEAT_MS: ms.default(2_000).describe("How often a worker extends its leases"),
  LEASE_GRACE_MS: ms.default(1_000).describe("How long after its end a lease is taken back"),
  RETRY_BACKOFF_MS: ms
    .default(10_000)
    .describe("First pause between two attempts of a run that broke; it doubles"),
  POLL_MS: ms.default(1_000).describe("How often a worker looks for work when no bell rang"),
  AGENT_TIME_SLICE_MS: ms.default(15_000).describe("Agent time that a run books ahead"),
  DRAIN_MS: z.coerce
    .number()
    .int()
    .min(0)
    .default(25_000)
    .describe(
      "How long work that is open at SIGTERM may take to end; then runs are handed over and streams broken off",
    ),
  DRAIN_NOTICE_MS: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .describe(
      "How long a process goes on taking requests after /readyz began to refuse, so that load balancers notice; default: 0 with all roles, else 2000",
    ),
  MODEL_CALL_TIMEOUT_MS: ms
    .default(600_000)
    .describe("Deadline of one model call, draining included"),
  MODEL_IDLE_TIMEOUT_MS: ms
    .default(60_000)
    .describe("Silence of the provider after which a call is given up"),
  GATEWAY_LEASE_MS: ms
    .default(GATEWAY_LEASE_DEFAULT_MS)
    .describe(
      "After so long a silence a gateway counts as dead: its open model calls are charged as held until the provider's figures are known; the same in all processes",
    ),
  BUDGET_WAIT_MS: ms
    .default(30_000)
    .describe("How long a call waits for open holds before it is refused"),
  GATEWAY_EXACT_HOLDS: z
    .enum(["0", "1"])
    .default("0")
    .describe(
      "1 holds the input of a model call by the provider's count instead of by its bytes; the platform bears what the count misses",
    ),
  GATEWAY_CACHE_SALT: z
    .enum(["workspace", "off"])
    .default("workspace")
    .describe(
      "workspace keeps workspaces from seeing each other's cached prompts; off where there is one, or the provider keeps them apart",
    ),
  MAX_UPLOAD_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .default(200 * 1024 * 1024)
    .describe("Largest upload, all files together"),
  MAX_UPLOAD_FILES: z.coerce
    .number()
    .int()
    .min(1)
    .default(1_000)
    .describe("Most files in one upload"),
  STORAGE_QUOTA_BYTES: z.coerce
    .number()
    .int()
    .min(0)
    .default(10 * 1024 ** 3)
    .describe(
      "What a workspace may store in files when nothing else was agreed with it (guildhall operator storage); 0 is no quota",
    ),
  S3_BUCKET: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Bucket that files are kept in, which every worker can reach; without it they lie in the data folder of this machine",
    ),
  S3_ENDPOINT: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("Service that speaks S3; default: that of AWS in the region"),
  S3_REGION: z.string().min(1).default("us-east-1").describe("Region of the bucket"),
  S3_ACCESS_KEY_ID: z
    .string()
    .min(1)
    .optional()
    .describe("Key id for the bucket; without it what AWS gives this machine is used"),
  S3_SECRET_ACCESS_KEY: secret.optional().describe("Secret of that key"),
  S3_PATH_STYLE: z
    .enum(["0", "1"])
    .default("0")
    .describe("1 names the bucket in the path, not the host, as MinIO and its like want"),
  AGENT_SECOND_NANO_USD: nanoUsd
    .default(0)
    .describe("What a second of agent time costs the operator, nano-USD"),
  STORAGE_GIB_MONTH_NANO_USD: nanoUsd
    .default(0)
    .describe("What a GiB kept for a month costs the operator, nano-USD"),
  MARGIN_GUARD_PERCENT: z.coerce
    .number()
    .int()
    .min(0)
    .max(100)
    .optional()
    .describe(
      "Least part of a workspace's revenue that must be left, percent; one that would leave less is paused. Without it nobody is paused",
    ),
  MARGIN_GUARD_GRACE_NANO_USD: nanoUsd
    .default(1_000_000_000)
    .describe("Up to here a workspace may cost in a month whatever it brings in, nano-USD"),
  TRUSTED_PROXIES: z
    .string()
    .optional()
    .describe(
      "Proxies in front of this server, comma-separated addresses or networks (10.0.0.0/8, fd00::/8): their X-Forwarded-For is believed, nobody else's",
    ),
  RATE_LIMITS: z
    .string()
    .optional()
    .describe(
      "Changes to the named limits of requests, for example `create_task=60/60, user=off` (requests/seconds); names and defaults: server/platform/rate-policies.ts",
    ),
  SIMULATOR_URL: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ""))
    .optional()
    .describe(
      "A simulated model that runs by itself, the same in all processes; without it one process with all roles brings its own",
    ),
  SIMULATOR_SEED: z.string().default("1").describe("Seed of the simulated model"),
  SIMULATOR_EVENT_DELAY_MS: z.coerce
    .number()
    .int()
    .min(0)
    .default(15)
    .describe("Pause between streamed words of the simulated model"),
  CHECK_EVERY_MS: ms
    .default(60_000)
    .describe("How often the ledger is checked for what is new and open"),
  RECONCILE_EVERY_MS: ms
    .default(60_000)
    .describe("How often provisional charges are compared with the provider's report"),
  METRICS_TOKEN: secret
    .optional()
    .describe(
      "Bearer token for GET /metrics; without it only direct requests of this machine are answered, and none in production",
    ),
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace"])
    .default("warn")
    .describe("Least level that is logged"),
  NODE_ENV: z
    .enum(["development", "test", "production"])
    .default("development")
    .describe("production refuses a missing or short secret"),
});

export type Config = z.infer<typeof configSchema>;
export type ConfigKey = keyof Config;

type Rule = { field: ConfigKey; holds(config: Config): boolean; message: string };

/** What one value alone cannot show. */
const rules: readonly Rule[] = [
  {
    field: "HEARTBEAT_MS",
    holds: (config) => config.HEARTBEAT_MS * 2 <= config.LEASE_MS,
    message: "must be at most half of LEASE_MS, or a busy worker loses runs that it is working on",
  },
  {
    field: "SIMULATOR_URL",
    holds: ({ SIMULATOR_URL, MODEL_BASE_URL, ANTHROPIC_API_KEY }) =>
      SIMULATOR_URL === undefined ||
      (MODEL_BASE_URL === undefined && ANTHROPIC_API_KEY === undefined),
    message: "must not be set together with a real provider (MODEL_BASE_URL, ANTHROPIC_API_KEY)",
  },
  {
    field: "DRAIN_NOTICE_MS",
    holds: ({ DRAIN_NOTICE_MS, DRAIN_MS }) => (DRAIN_NOTICE_MS ?? 0) <= DRAIN_MS,
    message: "must not be above DRAIN_MS, of which it is a part",
  },
  {
    field: "GUILDHALL_SECRET",
    holds: ({ NODE_ENV, GUILDHALL_SECRET }) =>
      NODE_ENV !== "production" || (GUILDHALL_SECRET?.reveal().length ?? 0) >= 32,
    message:
      "must have at least 32 characters in production; set it to the output of `openssl rand -base64 48` and keep it",
  },
  {
    field: "S3_BUCKET",
    holds: ({ S3_BUCKET, S3_ENDPOINT, S3_ACCESS_KEY_ID }) =>
      S3_BUCKET !== undefined || (S3_ENDPOINT === undefined && S3_ACCESS_KEY_ID === undefined),
    message: "is missing, and S3_ENDPOINT or S3_ACCESS_KEY_ID mean nothing without it",
  },
  {
    field: "S3_SECRET_ACCESS_KEY",
    holds: ({ S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY }) =>
      (S3_ACCESS_KEY_ID === undefined) === (S3_SECRET_ACCESS_KEY === undefined),
    message: "and S3_ACCESS_KEY_ID must be set together, or neither",
  },
  {
    field: "TRUSTED_PROXIES",
    holds: ({ TRUSTED_PROXIES }) => wrongProxy(TRUSTED_PROXIES ?? "") === undefined,
    message:
      "must be addresses or networks such as 10.0.0.0/8, separated by commas; not everybody (/0)",
  },
];

/** What a start says about settings that are wrong: each variable and what is wrong with it. */
export function invalidConfig(fields: readonly FieldProblem[]): AppError {
  return new AppError({
    code: "config_invalid",
    status: 500,
    publicMessage: `Settings are wrong: ${fields.map((f) => `${f.field}: ${f.message}`).join("; ")}.`,
    hint: "Correct the variables and start again; `guildhall doctor` shows every value and its source.",
    fields,
  });
}

const toProblem = ({ field, message }: Rule): FieldProblem => ({ field, message });

/** Parses the environment once. Throws `config_invalid` that names each variable and what is wrong with it. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  // An empty variable is how compose files and CI say "not set".
  const given = Object.fromEntries(
    Object.keys(configSchema.shape).flatMap((key) =>
      env[key] === undefined || env[key] === "" ? [] : [[key, env[key]]],
    ),
  );
  speakPlainly();
  const parsed = configSchema.safeParse(given);
  if (!parsed.success)
    throw invalidConfig(
      parsed.error.issues.map((issue) => ({ field: issue.path.join("."), message: issue.message })),
    );
  const broken = rules.filter((rule) => !rule.holds(parsed.data)).map(toProblem);
  const wrongLimit = wrongRateLimit(parsed.data.RATE_LIMITS ?? "");
  if (wrongLimit !== undefined) broken.push({ field: "RATE_LIMITS", message: wrongLimit });
  if (broken.length > 0) throw invalidConfig(broken);
  return parsed.data;
}

/** One line per setting for `guildhall doctor`: the value (secrets as ***) and where it came from. */
export function explainConfig(env: Readonly<Record<string, string | undefined>>): {
  name: ConfigKey;
  value: string;
  source: "environment" | "default" | "not set";
  description: string;
}[] {
  const config = readConfig(env);
  return (Object.keys(configSchema.shape) as ConfigKey[]).map((name) => ({
    name,
    value: config[name] === undefined ? "" : String(config[name]),
    source:
      env[name] !== undefined && env[name] !== ""
        ? "environment"
        : config[name] === undefined
          ? "not set"
          : "default",
    description: configSchema.shape[name].description ?? "",
  }));
}
