/** One named limit: so many requests of one key in each window; null: no limit. */
export type RatePolicy = { requests: number; windowS: number } | null;

/**
 * Abuse limits, per process: generous, so that work as it should be never meets them. Whom each counts:
 * - `address`: all requests of an address (IPv6: its /64) to page and API, before anything of them is looked at.
 * - `failed_credential`: its requests that were refused with 401. Above it only credentials that have just worked pass.
 * - `flood`: its requests that were refused by any limit. Above it connections are closed without further looks.
 * - `sign_in`: its calls of `/v1/auth/…`.
 * - `user`, `change`, `create_task`, `upload`: the calls of one user or API key: all, all but reading, the endpoint.
 * - `socket_connect` per address, `socket_message` per user.
 * - `gateway_token`: model calls of one token. `gateway_failed`, `gateway_flood`: as above, at the gateway.
 */
export const defaultRatePolicies = {
  address: { requests: 12_000, windowS: 60 },
  failed_credential: { requests: 1_000, windowS: 60 },
  flood: { requests: 3_000, windowS: 60 },
  sign_in: { requests: 600, windowS: 60 },
  user: { requests: 6_000, windowS: 60 },
  change: { requests: 3_000, windowS: 60 },
  create_task: { requests: 1_200, windowS: 60 },
  upload: { requests: 600, windowS: 60 },
  socket_connect: { requests: 600, windowS: 60 },
  socket_message: { requests: 3_000, windowS: 60 },
  gateway_token: { requests: 6_000, windowS: 60 },
  gateway_failed: { requests: 1_000, windowS: 60 },
  gateway_flood: { requests: 3_000, windowS: 60 },
} as const satisfies Record<string, RatePolicy>;

export type RatePolicyName = keyof typeof defaultRatePolicies;
export type RatePolicies = Readonly<Record<RatePolicyName, RatePolicy>>;

const names = Object.keys(defaultRatePolicies) as RatePolicyName[];
const MAX_WINDOW_S = 86_400;

type Change = { name: RatePolicyName; policy: RatePolicy };

function parseChange(text: string): Change | string {
  const [left = "", value = ""] = text.split("=").map((part) => part.trim());
  const name = names.find((known) => known === left);
  if (name === undefined) return `${left} is none of ${names.join(", ")}`;
  if (value === "off") return { name, policy: null };
  const [, requests, windowS] = /^(\d{1,9})\/(\d{1,5})$/.exec(value) ?? [];
  const policy = { requests: Number(requests), windowS: Number(windowS) };
  const valid = policy.requests >= 1 && policy.windowS >= 1 && policy.windowS <= MAX_WINDOW_S;
  return valid
    ? { name, policy }
    : `${left} must be <requests>/<seconds>, for example ${left}=600/60, or off`;
}

const changesOf = (text: string): (Change | string)[] =>
  text
    .split(",")
    .filter((part) => part.trim() !== "")
    .map(parseChange);

/** What is wrong with a list of changes such as `user=600/60, upload=off`; undefined when it is right. */
export function wrongRateLimit(text: string): string | undefined {
  return changesOf(text).find((change) => typeof change === "string");
}

/** The named limits with the operator's changes. */
export function ratePolicies(changes: string): RatePolicies {
  const policies: Record<RatePolicyName, RatePolicy> = { ...defaultRatePolicies };
  for (const change of changesOf(changes))
    if (typeof change !== "string") policies[change.name] = change.policy;
  return policies;
}
