import type { LimitStop, Raiser } from "@guildhall/sdk/contract/limit.ts";
import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { formatUtcMinute } from "../format/time.ts";
import { t } from "../messages/translate.ts";
import { meterAmount, meterLimit } from "./meter-amount.ts";

export type { LimitStop };

/** What holds a paused task up: a limit, a model without a price, or a stop of the whole workspace. */
export type HoldUp = Extract<Parked, { kind: "limit" | "unpriced" | "suspended" }>;

/** Undefined for what a task waits for without being paused. */
export function holdUpOf(parked: Parked | null): HoldUp | undefined {
  return parked === null || parked.kind === "question" || parked.kind === "child"
    ? undefined
    : parked;
}

/** Which limit stopped the work, in a few words: "Agent budget $5.00 (Sable Chen)". */
export function limitName(stop: LimitStop): string {
  const level = t(`limit.level.${stop.level}`);
  const limit = stop.limit === null ? "" : meterLimit(stop.meter, stop.limit);
  const name = t(`limit.meter.${stop.meter}`, { level, limit }).trim();
  const isOfMany = stop.level === "agent" || stop.level === "key";
  return isOfMany && stop.scope_name !== null ? `${name} (${stop.scope_name})` : name;
}

/** The same of whatever holds up. */
export function holdUpName(hold: HoldUp): string {
  switch (hold.kind) {
    case "limit":
      return hold.status === "reserved"
        ? t("limit.reservedName", { name: limitName(hold) })
        : limitName(hold);
    case "unpriced":
      return t("unpriced.name", { model: hold.model });
    case "suspended":
      return t("suspended.name");
  }
}

/** Why a workspace is stopped; a reason of a newer server as it is. */
export function suspensionReason(reason: string): string {
  if (reason === "margin_guard") return t("suspended.margin_guard");
  return reason === "operator" ? t("suspended.operator") : reason;
}

/** Who may raise or lift it: "an owner or an admin". */
export function raisersText(raisers: readonly Raiser[]): string {
  return raisers.map((raiser) => t(`raiser.${raiser}`)).join(t("raiser.or"));
}

function limitStory(stop: LimitStop): string {
  const amounts = {
    used: meterAmount(stop.meter, stop.posted),
    held: meterAmount(stop.meter, stop.held),
    needed: meterAmount(stop.meter, stop.needed),
  };
  const name = limitName(stop);
  const figures =
    stop.left === null
      ? t("limit.ownFigures", amounts)
      : t("limit.figures", { ...amounts, left: meterLimit(stop.meter, stop.left) });
  const what = t(stop.status === "reserved" ? "limit.reserved" : "limit.exhausted", { name });
  const turns =
    stop.resets_at === null ? [] : [t("limit.resets", { at: formatUtcMinute(stop.resets_at) })];
  return [what, figures, ...turns].join(" ");
}

/** The whole story: what holds up, how it stands, what the next step would have needed, and when it turns. */
export function holdUpStory(hold: HoldUp): string {
  switch (hold.kind) {
    case "limit":
      return limitStory(hold);
    case "unpriced":
      return t("unpriced.story", { model: hold.model });
    case "suspended":
      return t("suspended.story", { reason: suspensionReason(hold.reason) });
  }
}

/** What stops a task right now, in one line. */
export function parkedLine(parked: Parked): string {
  switch (parked.kind) {
    case "question":
      return parked.question;
    case "child":
      return t("parked.child");
    default:
      return holdUpName(parked);
  }
}

/** Where a limit stands on the page of limits. */
export function limitAnchor(limit: { level: string; scope_id: string; meter: string }): string {
  return `limit-${limit.level}-${limit.scope_id}-${limit.meter}`;
}
