import { t } from "../messages/translate.ts";

const hourMs = 3_600_000;
const durationsMs = { hour: hourMs, day: 24 * hourMs, week: 168 * hourMs } as const;
const durations = ["lasting", "hour", "day", "week"] as const;

/** How long a changed limit holds. */
export type LimitDuration = (typeof durations)[number];

/** The moment at which the former limit comes back, counted from now; nothing for a change that lasts. */
export function untilOf(duration: LimitDuration): { until?: string } {
  if (duration === "lasting") return {};
  return { until: new Date(Date.now() + durationsMs[duration]).toISOString() };
}

export function DurationField({
  value,
  onChange,
}: {
  value: LimitDuration;
  onChange: (duration: LimitDuration) => void;
}) {
  return (
    <label className="field">
      <span>{t("change.duration")}</span>
      <select
        value={value}
        onChange={(event) =>
          onChange(durations.find((each) => each === event.target.value) ?? "lasting")
        }
      >
        {durations.map((each) => (
          <option key={each} value={each}>
            {t(`change.duration.${each}`)}
          </option>
        ))}
      </select>
    </label>
  );
}
