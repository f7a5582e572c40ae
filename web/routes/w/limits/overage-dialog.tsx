import { useState } from "react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { overageMeters, type PlanTerm } from "@guildhall/sdk/contract/plan.ts";
import { call } from "../../../api/api.ts";
import { t } from "../../../messages/translate.ts";
import { toAmount, toText } from "../../../tasks/limit-target.ts";
import { meterLimit } from "../../../tasks/meter-amount.ts";
import { AmountField } from "../../../ui/amount-field.tsx";
import { Button } from "../../../ui/button.tsx";
import { Dialog, DialogActions } from "../../../ui/dialog.tsx";
import { ProblemNotice } from "../../../ui/problem.tsx";
import styles from "./limits-page.module.css";

const isZero = (text: string): boolean => /^\s*0+([.,]0*)?\s*$/.test(text);

/** The limit that would be in force; what the workspace set itself may be less. */
function inForce(term: PlanTerm, overage: number): number {
  const most = (term.most ?? 0) - term.overage + overage;
  return term.own_cap === null ? most : Math.min(most, term.own_cap);
}

/** Opts in to use beyond what the plan includes, up to so much a month. */
export function OverageDialog({ term, onClose }: { term: PlanTerm; onClose: () => void }) {
  const queries = useQueryClient();
  const [text, setText] = useState(() =>
    term.overage === 0 ? "0" : toText(term.meter, term.overage),
  );
  const meter = overageMeters.find((known) => known === term.meter);
  const amount = isZero(text) ? 0 : toAmount(term.meter, text);
  const set = useMutation({
    mutationFn: (change: { meter: (typeof overageMeters)[number]; amount: number }) =>
      call((client) => client.limits.setOverage(change)),
    onSuccess: async () => {
      await queries.invalidateQueries();
      onClose();
    },
  });
  if (meter === undefined) return null;
  return (
    <Dialog title={t("plan.overageOf", { name: t(`meter.${meter}`) })} onClose={onClose}>
      <form
        className={styles["dialog-form"]}
        onSubmit={(event) => {
          event.preventDefault();
          if (amount !== undefined && !set.isPending) set.mutate({ meter, amount });
        }}
      >
        <p>{t("plan.overageStory")}</p>
        <AmountField
          label={t(`plan.overage.${meter}`)}
          value={text}
          isFine={amount !== undefined}
          consequenceId="overage-consequence"
          consequence={
            amount === undefined
              ? t("plan.overageWrong")
              : t("change.consequence", { limit: meterLimit(meter, inForce(term, amount)) })
          }
          onChange={setText}
        />
        {set.isError && <ProblemNotice error={set.error} />}
        <DialogActions>
          <Button onClick={onClose}>{t("raise.dismiss")}</Button>
          <Button type="submit" look="primary" disabled={amount === undefined || set.isPending}>
            {t("plan.overageConfirm")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
