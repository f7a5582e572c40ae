import { UsageError } from "./exit.ts";

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function momentOf(text: string, now: Date): number {
  const [, count, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return now.getTime() + Number(count) * (UNITS_MS[unit] ?? Number.NaN);
  return /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN;
}

/** A time from now such as `30m`, or a moment; one without a zone is of this machine's. -> ISO time */
export function startAfterOf(text: string | undefined, now: Date): string | undefined {
  if (text === undefined) return undefined;
  const moment = new Date(momentOf(text, now));
  if (Number.isNaN(moment.getTime()))
    throw new UsageError(
      `--start-after ${text}: a time from now (90s, 30m, 2h, 1d) or a moment (2027-01-31T08:00+01:00).`,
    );
  return moment.toISOString();
}
