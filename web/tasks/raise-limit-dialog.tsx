import { useState } from "react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { call } from "../api/api.ts";
import { t } from "../messages/translate.ts";
import { AmountField } from "../ui/amount-field.tsx";
import { Button } from "../ui/button.tsx";
import { Dialog, DialogActions } from "../ui/dialog.tsx";
import { ProblemNotice } from "../ui/problem.tsx";
import { DurationField, type LimitDuration, untilOf } from "./duration-field.tsx";
import { helped, suggestion, toAmount, toText, type LimitTarget } from "./limit-target.ts";
import { meterAmount, meterLimit } from "./meter-amount.ts";
import styles from "./raise-limit-dialog.module.css";

const labels = {
  model_cost: "raise.money",
  agent_time: "raise.minutes",
  concurrent_tasks: "raise.count",
  api_requests: "raise.count",
  members: "raise.count",
  model_calls: "raise.count",
  tool_calls: "raise.count",
} as const;

/** What the new limit does to the work: what goes on, and what stops. */
function consequence(target: LimitTarget, amount: number): string {
  const limit = meterLimit(target.meter, amount);
  const { needs } = target;
  if (needs.length > 0) {
    const count = helped(target, amount);
    if (count === 0) {
      const least = target.used + target.held + Math.min(...needs);
      return t("raise.tooLow", { needed: meterAmount(target.meter, least) });
    }
    return count === needs.length
      ? t("raise.consequence", { limit })
      : t("raise.some", { limit, count, all: needs.length });
  }
  return amount <= target.used ? t("change.stops", { limit }) : t("change.consequence", { limit });
}

/** Changes a limit, with what follows from it. Parked work goes on by itself. */
export default function RaiseLimitDialog({
  target,
  onClose,
}: {
  target: LimitTarget;
  onClose: () => void;
}) {
  const { meter, level, scopeId, max, mustHelp } = target;
  const queries = useQueryClient();
  const [text, setText] = useState(() => {
    const first = suggestion(target);
    return first === undefined ? "" : toText(meter, first);
  });
  const amount = toAmount(meter, text);
  const [duration, setDuration] = useState<LimitDuration>("lasting");
  const isFine = amount !== undefined && (!mustHelp || helped(target, amount) > 0);
  const set = useMutation({
    mutationFn: (to: number | null) =>
      call((client) =>
        client.limits.set({
          meter,
          level,
          ...(level === "workspace" ? {} : { scope_id: scopeId }),
          ...untilOf(duration),
          amount: to,
        }),
      ),
    onSuccess: async () => {
      await queries.invalidateQueries();
      onClose();
    },
  });
  return (
    <Dialog title={target.title} onClose={onClose}>
      <form
        className={styles["form"]}
        onSubmit={(event) => {
          event.preventDefault();
          if (isFine && !set.isPending) set.mutate(amount);
        }}
      >
        <p>{target.story}</p>
        <AmountField
          label={t(labels[meter])}
          value={text}
          isFine={isFine}
          consequenceId="consequence"
          consequence={amount === undefined ? t("raise.wrong") : consequence(target, amount)}
          onChange={setText}
        />
        <DurationField value={duration} onChange={setDuration} />
        {set.isError && <ProblemNotice error={set.error} />}
        <DialogActions>
          <Button onClick={onClose}>{t("raise.dismiss")}</Button>
          {!mustHelp && max !== null && level !== "task" && (
            <Button disabled={set.isPending} onClick={() => set.mutate(null)}>
              {t("change.remove")}
            </Button>
          )}
          <Button type="submit" look="primary" disabled={!isFine || set.isPending}>
            {t(mustHelp ? "raise.confirm" : "change.confirm")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
