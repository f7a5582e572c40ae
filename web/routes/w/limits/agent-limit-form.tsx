import { useId, useState } from "react";
import { useSuspenseQuery } from "@tanstack/react-query";
import { agentsQuery } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { openDialog } from "../../../shell/dialogs.ts";
import { Button } from "../../../ui/button.tsx";
import styles from "./limits-page.module.css";

/** Opens the dialog for an agent that has no limit of its own yet. */
export function AgentLimitForm({ limited }: { limited: ReadonlySet<string> }) {
  const { data: agents } = useSuspenseQuery(agentsQuery);
  const others = agents.filter((agent) => !limited.has(agent.id));
  const [chosen, setChosen] = useState<string>();
  const id = useId();
  const agent = others.find((each) => each.id === chosen) ?? others[0];
  if (agent === undefined) return null;
  const name = agent.name;
  return (
    <form
      className={styles["agent-form"]}
      onSubmit={(event) => {
        event.preventDefault();
        openDialog({
          kind: "raise-limit",
          target: {
            level: "agent",
            scopeId: agent.id,
            meter: "model_cost",
            title: t("change.title", { name, meter: t("meter.model_cost") }),
            story: t("change.first", { name }),
            max: null,
            used: 0,
            held: 0,
            needs: [],
            mustHelp: false,
          },
        });
      }}
    >
      <label htmlFor={id}>{t("limits.set.agent")}</label>
      <select id={id} value={agent.id} onChange={(event) => setChosen(event.target.value)}>
        {others.map((each) => (
          <option key={each.id} value={each.id}>
            {each.name}
          </option>
        ))}
      </select>
      <Button type="submit">{t("limits.set.open")}</Button>
    </form>
  );
}
