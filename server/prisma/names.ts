/** `cost_limit_nano_usd` -> `costLimitNanoUsd` */
export function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `api_keys` -> `ApiKeys` */
export function pascalCase(name: string): string {
  const camel = camelCase(name);
  return camel.slice(0, 1).toUpperCase() + camel.slice(1);
}

/** `ledger_lines` -> `ledger_line`, `processes` -> `process`, `journal` stays. */
export function singular(name: string): string {
  if (name.endsWith("ies")) return `${name.slice(0, -3)}y`;
  if (name.endsWith("sses")) return name.slice(0, -2);
  return name.endsWith("s") ? name.slice(0, -1) : name;
}

/** Name of the model of a table: `billing_accounts` -> `BillingAccount`. */
export function modelName(table: string): string {
  return pascalCase(singular(table));
}
