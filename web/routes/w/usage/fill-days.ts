import type { Usage } from "@guildhall/sdk/contract/workspace.ts";

type Day = Usage["by_day"][number];

const msPerDay = 86_400_000;
const startOf = (day: string) => Date.parse(`${day}T00:00:00Z`);

/** Every calendar day (UTC) from the first to the last, at least `least` of them: days without cost are days too. */
export function fillDays(days: readonly Day[], least: number): Day[] {
  const sorted = days.toSorted((left, right) => startOf(left.day) - startOf(right.day));
  const first = sorted[0];
  const last = sorted.at(-1);
  if (first === undefined || last === undefined) return [];
  const byDay = new Map(sorted.map((day) => [day.day, day]));
  const endMs = startOf(last.day);
  const startMs = Math.min(startOf(first.day), endMs - (least - 1) * msPerDay);
  return Array.from({ length: (endMs - startMs) / msPerDay + 1 }, (_, index) => {
    const day = new Date(startMs + index * msPerDay).toISOString().slice(0, 10);
    return byDay.get(day) ?? { day, spent_nano_usd: 0, tasks: 0 };
  });
}
