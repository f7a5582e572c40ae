import { useQuery } from "@tanstack/react-query";
import { agentsQuery } from "../api/queries.ts";
import { Avatar } from "../office/avatar.tsx";
import styles from "./agent-name.module.css";

/** The name of an agent, or its id while (or where) nobody knows more. */
export function useAgentName(id: string): string {
  const { data } = useQuery(agentsQuery);
  return data?.find((agent) => agent.id === id)?.name ?? id;
}

export function AgentName({ id }: { id: string }) {
  const name = useAgentName(id);
  return (
    <span className={styles["agent"]}>
      <Avatar id={id} size={20} />
      <span className={styles["name"]}>{name}</span>
    </span>
  );
}
