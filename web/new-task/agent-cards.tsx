import type { Agent } from "@guildhall/sdk/contract/workspace.ts";
import { t } from "../messages/translate.ts";
import { Avatar } from "../office/avatar.tsx";
import styles from "./agent-cards.module.css";

/** Who does the work: radio buttons that look like cards. */
export function AgentCards({
  agents,
  chosen,
  onChoose,
}: {
  agents: readonly Agent[];
  chosen: string;
  onChoose: (id: string) => void;
}) {
  return (
    <fieldset className={styles["cards"]}>
      <legend>{t("newTask.agent")}</legend>
      {agents.map((agent) => (
        <label key={agent.id} className={styles["card"]}>
          <input
            type="radio"
            name="agent"
            value={agent.id}
            checked={agent.id === chosen}
            onChange={() => onChoose(agent.id)}
          />
          <Avatar id={agent.id} size={32} />
          <span>
            <span className={styles["name"]}>{agent.name}</span>
            <span className={styles["role"]}>{agent.role}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}
