import { devonte } from "./devonte.ts";
import { direct } from "./direct.ts";
import { gray } from "./gray.ts";
import { marcus } from "./marcus.ts";
import type { Persona } from "./persona.ts";
import { sable } from "./sable.ts";
import { yuki } from "./yuki.ts";

const ROSTER: readonly { introduction: RegExp; persona: Persona }[] = [
  { introduction: /\bYou are Marcus Bell\b/i, persona: marcus },
  { introduction: /\bYou are Sable Chen\b/i, persona: sable },
  { introduction: /\bYou are DeVonte Jackson\b/i, persona: devonte },
  { introduction: /\bYou are Yuki Tanaka\b/i, persona: yuki },
  { introduction: /\bYou are (?:Graham )?["'“(]?(?:Gray|Graham)["'”)]? Sutton\b/i, persona: gray },
];

/** Finds who the system prompt says that the model is; without a known name, nobody in particular. */
export function findPersona(system: string): Persona {
  return ROSTER.find((entry) => entry.introduction.test(system))?.persona ?? direct;
}
