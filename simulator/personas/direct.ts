import type { Persona } from "./persona.ts";

const MAX_QUOTE_CHARACTERS = 600;

function quote(text: string): string {
  const characters = Array.from(text.trim());
  const shown = characters.slice(0, MAX_QUOTE_CHARACTERS).join("");
  const more = characters.length - MAX_QUOTE_CHARACTERS;
  return `${shown.replaceAll(/^/gm, "> ")}${more > 0 ? `\n> ... and ${more} more characters` : ""}`;
}

/** Answers callers that speak to the endpoint without one of the five characters. */
export const direct: Persona = {
  name: "Simulated model",
  stages: [],
  finish({ prompt, outcomes }) {
    const words = prompt.split(/\s+/).filter((word) => word !== "").length;
    const last = outcomes.at(-1);
    const said = `[Simulated model: no real model read this.] Your message has ${words} ${words === 1 ? "word" : "words"}:\n\n${quote(prompt)}`;
    if (last === undefined) return said;
    return `${said}\n\nThe last of ${outcomes.length} tool results came from ${last.name}${last.isError ? " and was an error" : ""}:\n\n${quote(last.text)}`;
  },
};
