const locale = "en-US";

const clock = new Intl.DateTimeFormat(locale, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const shortClock = new Intl.DateTimeFormat(locale, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });
const utcDay = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", timeZone: "UTC" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
const zoned = new Intl.DateTimeFormat(locale, {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
});
const utcMonth = new Intl.DateTimeFormat(locale, { month: "long", timeZone: "UTC" });

/** 14:02:11 in the reader's time zone. */
export function formatClock(iso: string): string {
  return clock.format(new Date(iso));
}

/** 14:02 when it was today, else Nov 23, 14:02. */
export function formatMoment(iso: string, nowMs: number): string {
  const date = new Date(iso);
  const time = shortClock.format(date);
  const sameDay = date.toDateString() === new Date(nowMs).toDateString();
  return sameDay ? time : `${day.format(date)}, ${time}`;
}

/** Nov 23, 2026, 14:02 GMT+1: a moment to come, in the reader's time zone, which is named. */
export function formatZoned(iso: string): string {
  return zoned.format(new Date(iso));
}

export function formatDateTime(iso: string): string {
  return full.format(new Date(iso));
}

const utcMinute = new Intl.DateTimeFormat(locale, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
  timeZone: "UTC",
});

/** Dec 1, 00:00 UTC: when a period turns, which is the same moment for everybody. */
export function formatUtcMinute(iso: string): string {
  return `${utcMinute.format(new Date(iso))} UTC`;
}

/** A day of the usage report (UTC, 2026-11-23) or an instant, as Nov 23. */
export function formatDay(isoDay: string): string {
  return utcDay.format(new Date(isoDay.length === 10 ? `${isoDay}T00:00:00Z` : isoDay));
}

/** A budget period: November for 2026-11; anything else as it is. */
export function formatPeriod(period: string): string {
  return /^\d{4}-\d{2}$/.test(period)
    ? utcMonth.format(new Date(`${period}-01T00:00:00Z`))
    : period;
}

/** 430 ms, 1.4 s, 12 s, 2 m 14 s, 3 h 05 m. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${String(seconds % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} m`;
}
