import { z } from "zod";
import { UsageError } from "./exit.ts";

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** With or without seconds, but with a zone: without one a moment would mean something else on another machine. */
const zoned = z.union([
  z.iso.datetime({ offset: true }),
  z.iso.datetime({ offset: true, precision: -1 }),
]);

function msOf(text: string, now: Date): number {
  const [, count, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return now.getTime() + Number(count) * (UNITS_MS[unit] ?? Number.NaN);
  return zoned.safeParse(text).success ? Date.parse(text) : Number.NaN;
}

/** How every option of the command line takes a moment, for its help. */
export const momentForms = "30m, 8h, 3d from now, or 2027-01-31T08:00+01:00";

/** The moment that an option names: so long from now, or a moment with its zone. -> ISO 8601; undefined when it was not given */
export function momentOf(option: string, text: string | undefined, now: Date): string | undefined {
  if (text === undefined) return undefined;
  const moment = new Date(msOf(text, now));
  if (Number.isNaN(moment.getTime()))
    throw new UsageError(
      `${option} ${text}: a time from now (90s, 30m, 8h, 3d) or a moment with its zone (2027-01-31T08:00+01:00, or Z for UTC).`,
    );
  return moment.toISOString();
}
