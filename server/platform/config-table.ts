import { type ConfigKey, configSchema, explainConfig } from "./config.ts";

const BEGIN = "<!-- configuration table: npm run readme -->";
const END = "<!-- end of configuration table -->";

/** Every setting with its default and meaning, as a markdown table. */
export function configTable(): string {
  const defaults = new Map(explainConfig({}).map((setting) => [setting.name, setting.value]));
  const rows = (Object.keys(configSchema.shape) as ConfigKey[]).map((name) => {
    const value = defaults.get(name);
    return `| \`${name}\` | ${value ? `\`${value}\`` : ""} | ${configSchema.shape[name].description ?? ""} |`;
  });
  return ["| variable | default | meaning |", "| --- | --- | --- |", ...rows].join("\n");
}

/** The text with its configuration table made anew between the two markers. */
export function withConfigTable(readme: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  return `${readme.slice(0, begin + BEGIN.length)}\n\n${configTable()}\n\n${readme.slice(end)}`;
}
