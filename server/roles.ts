import { type Config, invalidConfig } from "./platform/config.ts";
import { AppError, type FieldProblem } from "./platform/errors.ts";

/**
 * What a process of an installation may do: serve the API, the page and sockets; claim and execute runs; pass model
 * calls on, with the provider's key; look after what nobody is at. Any number of processes may have each.
 */
export const roles = ["api", "worker", "gateway", "scheduler"] as const;
export type Role = (typeof roles)[number];
export type Roles = ReadonlySet<Role>;

export const allRoles: Roles = new Set(roles);

/** True for a process that is only a part of an installation. */
export const isPart = (mine: Roles): boolean => mine.size < allRoles.size;

const isRole = (name: string): name is Role => (roles as readonly string[]).includes(name);

/** Reads `--role` options, each a name or a list with commas; none means all roles. Throws `role_unknown`. */
export function parseRoles(options: readonly string[]): Roles {
  const names = options.flatMap((option) => option.split(",")).map((name) => name.trim());
  const unknown = names.find((name) => !isRole(name));
  if (unknown !== undefined)
    throw new AppError({
      code: "role_unknown",
      status: 500,
      publicMessage: `There is no role ${unknown === "" ? "without a name" : unknown}.`,
      hint: `Give --role one or more of ${roles.join(", ")}; without it one process has all roles.`,
    });
  return names.length === 0 ? allRoles : new Set(names.filter(isRole));
}

type Need = { field: keyof Config; missing: boolean; message: string };

/** What a process that has only a part of the roles cannot make for itself. */
function needsOf(config: Config, mine: Roles): Need[] {
  const hasGateway = mine.has("gateway");
  return [
    {
      field: "DATABASE_URL",
      missing: config.DATABASE_URL === undefined,
      message: "all processes of an installation need the same Postgres",
    },
    {
      field: "GUILDHALL_SECRET",
      missing: (config.GUILDHALL_SECRET?.reveal().length ?? 0) < 32,
      message:
        "all processes of an installation need the same secret of at least 32 characters (`openssl rand -base64 48`)",
    },
    {
      field: "GATEWAY_URL",
      missing: mine.has("worker") && !hasGateway && config.GATEWAY_URL === undefined,
      message: "a worker needs the address of a gateway, or of the balancer in front of several",
    },
    {
      field: "GATEWAY_PUBLIC_URL",
      missing:
        mine.has("api") &&
        !hasGateway &&
        (config.GATEWAY_PUBLIC_URL ?? config.GATEWAY_URL) === undefined,
      message: "the API tells programs where the gateway is; GATEWAY_URL serves, too",
    },
    {
      field: "ANTHROPIC_API_KEY",
      missing:
        hasGateway &&
        (config.ANTHROPIC_API_KEY ?? config.MODEL_BASE_URL ?? config.SIMULATOR_URL) === undefined,
      message: "a gateway needs it, or MODEL_BASE_URL, or SIMULATOR_URL",
    },
  ];
}

/**
 * Refuses a process of some roles that lacks what must be the same everywhere, and one that was given a provider's key
 * without being a gateway: what is in its environment its tools could read. Throws `config_invalid`.
 */
export function requireRoleSettings(config: Config, mine: Roles): void {
  if (!isPart(mine)) return;
  const problems: FieldProblem[] = needsOf(config, mine)
    .filter((need) => need.missing)
    .map(({ field, message }) => ({ field, message: `is missing: ${message}` }));
  if (config.ANTHROPIC_API_KEY !== undefined && !mine.has("gateway"))
    problems.push({
      field: "ANTHROPIC_API_KEY",
      message: `belongs to the role gateway only; unset it for a process with the role ${[...mine].join(", ")}`,
    });
  if (problems.length > 0) throw invalidConfig(problems);
}
