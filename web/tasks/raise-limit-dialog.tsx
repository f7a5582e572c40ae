import { useState } from "react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { call } from "../api/api.ts";
import { exactUsd, formatCost, formatLimit, parseUsd } from "../format/money.ts";
import { formatDuration } from "../format/time.ts";
import { t } from "../messages/translate.ts";
import { Button } from "../ui/button.tsx";
import { Dialog, DialogActions } from "../ui/dialog.tsx";
import { ProblemNotice } from "../ui/problem.tsx";
import { limitName, limitStory, raisable, type LimitStop } from "./limit-text.ts";

const msPerMinute = 60_000;

/** A round amount that lets the next step through: twice the limit, and at least what the step needs. */
function suggestion(stop: LimitStop): number {
  return Math.max(stop.limit * 2, stop.posted + stop.held + stop.needed * 2);
}

const toText = (stop: LimitStop, amount: number) =>
  stop.meter === "model_cost" ? exactUsd(amount) : String(Math.ceil(amount / msPerMinute));

/** What was typed, in units of the meter: nano-USD, or whole minutes as milliseconds. */
function toAmount(stop: LimitStop, text: string): number | undefined {
  if (stop.meter === "model_cost") return parseUsd(text);
  return /^\s*\d{1,7}\s*$/.test(text) ? Number(text) * msPerMinute : undefined;
}

/** Raises the limit that holds work up. The work goes on by itself. */
export default function RaiseLimitDialog({
  stop,
  onClose,
}: {
  stop: LimitStop;
  onClose: () => void;
}) {
  const queries = useQueryClient();
  const target = raisable(stop);
  const [text, setText] = useState(() => toText(stop, suggestion(stop)));
  const amount = toAmount(stop, text);
  const enough = amount !== undefined && amount >= stop.posted + stop.held + stop.needed;
  const show = stop.meter === "model_cost" ? formatLimit : formatDuration;
  const needed = stop.posted + stop.held + stop.needed;
  const raise = useMutation({
    mutationFn: async (to: number) => {
      if (target === undefined) return;
      await call((client) =>
        client.limits.set({
          meter: stop.meter,
          level: target.level,
          ...(target.level === "workspace" ? {} : { scope_id: target.scopeId }),
          amount: to,
        }),
      );
    },
    onSuccess: async () => {
      await queries.invalidateQueries();
      onClose();
    },
  });
  return (
    <Dialog title={t("raise.title", { name: limitName(stop) })} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (enough && !raise.isPending) raise.mutate(amount);
        }}
      >
        <p>{limitStory(stop)}</p>
        <label className="field">
          <span>{stop.meter === "model_cost" ? t("raise.money") : t("raise.minutes")}</span>
          <input
            inputMode="decimal"
            autoComplete="off"
            data-first-focus
            className="money"
            value={text}
            aria-invalid={!enough}
            onChange={(event) => setText(event.target.value)}
          />
        </label>
        <p className={enough ? "dim" : "field-problem"}>
          {enough
            ? t("raise.consequence", { limit: show(amount) })
            : t("raise.tooLow", {
                needed: stop.meter === "model_cost" ? formatCost(needed) : formatDuration(needed),
              })}
        </p>
        {raise.isError && <ProblemNotice error={raise.error} />}
        <DialogActions>
          <Button onClick={onClose}>{t("raise.dismiss")}</Button>
          <Button type="submit" look="primary" disabled={!enough || raise.isPending}>
            {t("raise.confirm")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
