import {
  type LimitRow,
  type SettableLevel,
  settableLevels,
  type SettableMeter,
  settableMeters,
} from "@guildhall/sdk/contract/limit.ts";
import { exactUsd, parseUsd } from "../format/money.ts";
import { t } from "../messages/translate.ts";
import { holdUpStory, limitName, type HoldUp, type LimitStop } from "./limit-text.ts";
import { meterAmount, meterLimit } from "./meter-amount.ts";

/** A limit that the workspace itself may change, and what depends on it. */
export type LimitTarget = {
  level: SettableLevel;
  scopeId: string;
  meter: SettableMeter;
  title: string;
  story: string;
  /** In force now; null is no limit. */
  max: number | null;
  used: number;
  held: number;
  /** What the next step of each task that it pauses needs; as many as are known by name. */
  needs: readonly number[];
  /** It was opened to let something go on: an amount that lets nothing go on is a mistake. */
  mustHelp: boolean;
};

function isSettable(limit: { level: string; meter: string }): limit is {
  level: LimitTarget["level"];
  meter: LimitTarget["meter"];
} {
  return (
    settableLevels.some((level) => level === limit.level) &&
    settableMeters.some((meter) => meter === limit.meter)
  );
}

/** The limit behind a paused task; undefined when only others can raise it, or when it needs no raising. */
export function targetOfStop(hold: HoldUp): LimitTarget | undefined {
  if (hold.kind !== "limit" || !isSettable(hold)) return undefined;
  const { level, meter }: Pick<LimitTarget, "level" | "meter"> = hold;
  const stop: LimitStop = hold;
  return {
    level,
    meter,
    scopeId: stop.scope_id,
    title: t("raise.title", { name: limitName(stop) }),
    story: holdUpStory(stop),
    max: stop.limit,
    used: stop.posted,
    held: stop.held,
    needs: [stop.needed],
    mustHelp: true,
  };
}

/** A row of the page of limits; undefined when the person may not change it. */
export function targetOfRow(row: LimitRow, name: string): LimitTarget | undefined {
  if (!row.settable || !isSettable(row)) return undefined;
  const { level, meter }: Pick<LimitTarget, "level" | "meter"> = row;
  return {
    level,
    meter,
    scopeId: row.scope_id,
    title: t(row.waiting_count > 0 ? "raise.titleOf" : "change.title", {
      name,
      meter: t(`meter.${meter}`),
    }),
    story: t("change.story", {
      limit: row.max === null ? t("budget.noLimit") : meterLimit(meter, row.max),
      used: meterAmount(meter, row.used),
      held: meterAmount(meter, row.held),
    }),
    max: row.max,
    used: row.used,
    held: row.held,
    needs: row.waiting.flatMap((task) => (task.needed === null ? [] : [task.needed])),
    mustHelp: false,
  };
}

const msPerMinute = 60_000;

/** What a person types for an amount: dollars, minutes or a count. */
export function toText(meter: SettableMeter, amount: number): string {
  if (meter === "model_cost") return exactUsd(amount);
  return String(meter === "agent_time" ? Math.ceil(amount / msPerMinute) : amount);
}

/** What was typed, in units of the meter; undefined when it is no amount above zero. */
export function toAmount(meter: SettableMeter, text: string): number | undefined {
  if (meter === "model_cost") return parseUsd(text) || undefined;
  if (!/^\s*\d{1,7}\s*$/.test(text)) return undefined;
  return Number(text) * (meter === "agent_time" ? msPerMinute : 1) || undefined;
}

/** The next amount with two digits that are not zero. */
function roundUp(amount: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, amount))) - 1);
  return Math.ceil(amount / unit) * unit;
}

/** A round amount that lets the next step through: twice the limit, and at least what the dearest step needs. */
export function suggestion(target: LimitTarget): number | undefined {
  if (target.max === null) return undefined;
  if (target.needs.length === 0) return target.max;
  const most = Math.max(...target.needs);
  return roundUp(Math.max(target.max * 2, target.used + target.held + most * 2));
}

/** How many of the paused tasks an amount leaves room for, one after the other, the least demanding first. */
export function helped(target: LimitTarget, amount: number): number {
  let left = amount - target.used - target.held;
  let count = 0;
  for (const needed of target.needs.toSorted((a, b) => a - b)) {
    if (needed > left) break;
    left -= needed;
    count += 1;
  }
  return count;
}
