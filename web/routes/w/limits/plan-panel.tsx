import { useState } from "react";
import { useSuspenseQuery } from "@tanstack/react-query";
import type { PlanTerm } from "@guildhall/sdk/contract/plan.ts";
import { meQuery, planQuery } from "../../../api/queries.ts";
import { formatLimit } from "../../../format/money.ts";
import { t } from "../../../messages/translate.ts";
import { meterLimit } from "../../../tasks/meter-amount.ts";
import { Button } from "../../../ui/button.tsx";
import { OverageDialog } from "./overage-dialog.tsx";
import styles from "./limits-page.module.css";

const columns = ["meter", "included", "overage", "ownCap", "inForce"] as const;

const amountOf = (term: PlanTerm, amount: number | null, none: string): string =>
  amount === null ? none : meterLimit(term.meter, amount);

/** What is agreed stands in place of what the plan includes. */
function included(term: PlanTerm): string {
  if (term.agreed === null) return amountOf(term, term.included, t("none"));
  return t("plan.agreed", { amount: amountOf(term, term.agreed.amount, t("budget.noLimit")) });
}

function TermRow({ term, onOverage }: { term: PlanTerm; onOverage: (() => void) | undefined }) {
  const name = t(`meter.${term.meter}`);
  return (
    <tr>
      <th scope="row">{name}</th>
      <td className="money">{included(term)}</td>
      <td className="money">
        {term.overage === 0 ? t("none") : `+ ${meterLimit(term.meter, term.overage)}`}{" "}
        {onOverage !== undefined && (
          <Button look="ghost" aria-label={t("plan.overageOf", { name })} onClick={onOverage}>
            {t("limits.change")}
          </Button>
        )}
      </td>
      <td className="money">{amountOf(term, term.own_cap, t("none"))}</td>
      <td className="money">{amountOf(term, term.in_force, t("budget.noLimit"))}</td>
    </tr>
  );
}

/** The workspace's plan: what it includes, what was opted in to beyond that, and what that comes to. */
export function PlanPanel() {
  const { data: plan } = useSuspenseQuery(planQuery);
  const { data: me } = useSuspenseQuery(meQuery);
  const [changed, setChanged] = useState<PlanTerm>();
  const mayChange = me.scopes.includes("limits:write");
  const price =
    plan.price_nano_usd === 0 ? "" : t("plan.price", { amount: formatLimit(plan.price_nano_usd) });
  const hasNumbers = plan.terms.some((term) => term.included !== null || term.agreed !== null);
  return (
    <section className={`panel ${styles["plan"]}`} aria-labelledby="plan">
      <h2 id="plan">
        {t("plan.title", { plan: plan.plan })}
        {price}
      </h2>
      <p className="dim">{t(hasNumbers ? "plan.about" : "plan.noNumbers")}</p>
      {hasNumbers && (
        <div className={styles["scroll"]}>
          <table className={styles["plain"]}>
            <thead>
              <tr>
                {columns.map((column) => (
                  <th key={column} scope="col">
                    {t(`plan.${column}`)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {plan.terms.map((term) => (
                <TermRow
                  key={term.meter}
                  term={term}
                  onOverage={
                    mayChange && term.overage_possible ? () => setChanged(term) : undefined
                  }
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {changed !== undefined && (
        <OverageDialog term={changed} onClose={() => setChanged(undefined)} />
      )}
    </section>
  );
}
