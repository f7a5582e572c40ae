import { direct } from "./direct.ts";
import type { Persona } from "./persona.ts";

const ROSTER: readonly { introduction: RegExp; persona: Persona }[] = [];

/** Finds who the system prompt says that the model is; without a known name, nobody in particular. */
export function findPersona(system: string): Persona {
  return ROSTER.find((entry) => entry.introduction.test(system))?.persona ?? direct;
}
