import { useState, type ReactNode } from "react";
import { useMutation, useSuspenseQuery } from "@tanstack/react-query";
import type { SimulatedCall } from "@guildhall/sdk/contract/limit.ts";
import { call } from "../../../api/api.ts";
import { agentsQuery } from "../../../api/queries.ts";
import { formatCost } from "../../../format/money.ts";
import { t } from "../../../messages/translate.ts";
import { meterAmount } from "../../../tasks/meter-amount.ts";
import { Button } from "../../../ui/button.tsx";
import { Dialog, DialogActions } from "../../../ui/dialog.tsx";
import { ProblemNotice } from "../../../ui/problem.tsx";
import { rowName } from "./limit-words.ts";
import styles from "./limits-page.module.css";

const isCount = (text: string): boolean => /^\d{1,7}$/.test(text);

function Field({ label, children }: { label: string; children: ReactNode }) {
  return (
    <label className="field">
      <span>{label}</span>
      {children}
    </label>
  );
}

function Answer({ said }: { said: SimulatedCall }) {
  return (
    <section aria-live="polite" className={styles["answer"]}>
      <p>
        <strong>{t(`simulate.${said.outcome}`)}</strong>{" "}
        {said.cost_nano_usd !== null &&
          t("simulate.cost", { cost: formatCost(said.cost_nano_usd) })}
      </p>
      {said.checks.length > 0 && (
        <div className={styles["scroll"]}>
          <table className={styles["plain"]}>
            <thead>
              <tr>
                <th scope="col">{t("simulate.limit")}</th>
                <th scope="col">{t("simulate.needed")}</th>
                <th scope="col">{t("simulate.left")}</th>
                <th scope="col">{t("simulate.verdict")}</th>
              </tr>
            </thead>
            <tbody>
              {said.checks.map((check) => (
                <tr key={`${check.level} ${check.scope_id} ${check.meter}`}>
                  <th scope="row">{rowName(check)}</th>
                  <td className="money">{meterAmount(check.meter, check.needed)}</td>
                  <td className="money">
                    {check.left === null ? t("none") : meterAmount(check.meter, check.left)}
                  </td>
                  <td>{t(`simulate.${check.outcome}`)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** Asks every limit what it would say to a call, before one is made. */
export function SimulateDialog({ onClose }: { onClose: () => void }) {
  const { data: agents } = useSuspenseQuery(agentsQuery);
  const models = [...new Set(agents.map((agent) => agent.model))];
  const [model, setModel] = useState(models[0] ?? "");
  const [input, setInput] = useState("20000");
  const [output, setOutput] = useState("8192");
  const [agent, setAgent] = useState("");
  const isFine = model !== "" && isCount(input) && isCount(output) && Number(output) > 0;
  const ask = useMutation({
    mutationFn: () =>
      call((client) =>
        client.limits.simulate({
          model,
          input_tokens: Number(input),
          max_tokens: Number(output),
          ...(agent === "" ? {} : { agent }),
        }),
      ),
  });
  return (
    <Dialog title={t("simulate.title")} onClose={onClose} wide>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isFine && !ask.isPending) ask.mutate();
        }}
      >
        <p className="dim">{t("simulate.about")}</p>
        <div className={styles["fields"]}>
          <Field label={t("simulate.model")}>
            <input
              value={model}
              list="models"
              autoComplete="off"
              data-first-focus
              onChange={(event) => setModel(event.target.value.trim())}
            />
            <datalist id="models">
              {models.map((each) => (
                <option key={each} value={each}>
                  {each}
                </option>
              ))}
            </datalist>
          </Field>
          <Field label={t("simulate.agent")}>
            <select value={agent} onChange={(event) => setAgent(event.target.value)}>
              <option value="">{t("simulate.anyAgent")}</option>
              {agents.map((each) => (
                <option key={each.id} value={each.id}>
                  {each.name}
                </option>
              ))}
            </select>
          </Field>
          <Field label={t("simulate.input")}>
            <input
              inputMode="numeric"
              className="money"
              value={input}
              aria-invalid={!isCount(input)}
              onChange={(event) => setInput(event.target.value)}
            />
          </Field>
          <Field label={t("simulate.output")}>
            <input
              inputMode="numeric"
              className="money"
              value={output}
              aria-invalid={!isCount(output) || Number(output) === 0}
              onChange={(event) => setOutput(event.target.value)}
            />
          </Field>
        </div>
        {!isFine && <p className="field-problem">{t("simulate.wrong")}</p>}
        <DialogActions>
          <Button onClick={onClose}>{t("close")}</Button>
          <Button type="submit" look="primary" disabled={!isFine || ask.isPending}>
            {t("simulate.run")}
          </Button>
        </DialogActions>
      </form>
      {ask.isError && <ProblemNotice error={ask.error} />}
      {ask.data !== undefined && <Answer said={ask.data} />}
    </Dialog>
  );
}
