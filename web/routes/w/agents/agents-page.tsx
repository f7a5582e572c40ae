import { useSuspenseQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import type { Agent } from "@guildhall/sdk/contract/workspace.ts";
import { agentsQuery } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { Avatar } from "../../../office/avatar.tsx";
import { shortName } from "../../../office/describe-status.ts";
import { openNewTask } from "../../../shell/dialogs.ts";
import { Button, buttonClass } from "../../../ui/button.tsx";
import { PageHead } from "../../../ui/page-head.tsx";
import styles from "./agents-page.module.css";

function Profile({ agent, workspaceId }: { agent: Agent; workspaceId: string }) {
  return (
    <li className={`panel ${styles["profile"]}`}>
      <header className={styles["head"]}>
        <Avatar id={agent.id} size={64} />
        <div>
          <h2>{agent.name}</h2>
          <p className="dim">{agent.role}</p>
        </div>
      </header>
      <dl className={styles["facts"]}>
        <dt>{t("agents.traits")}</dt>
        <dd>{agent.traits.join(", ")}</dd>
        <dt>{t("agents.voice")}</dt>
        <dd>{agent.voice}</dd>
        <dt>{t("agents.tools")}</dt>
        <dd className={styles["tools"]}>
          {agent.tools.map((tool) => (
            <code key={tool}>{tool}</code>
          ))}
        </dd>
        <dt>{t("agents.model")}</dt>
        <dd>
          <code>{agent.model}</code>
        </dd>
      </dl>
      <div className={styles["actions"]}>
        <Button look="primary" onClick={() => openNewTask({ agent: agent.id })}>
          {t("newTask.give", { name: shortName(agent.name) })}
        </Button>
        <Link
          to="/w/$workspaceId/tasks"
          params={{ workspaceId }}
          search={{ agent: agent.id }}
          className={buttonClass()}
        >
          {t("agents.tasks")}
        </Link>
      </div>
    </li>
  );
}

export function AgentsPage() {
  const { workspaceId } = useParams({ from: "/w/$workspaceId/agents" });
  const { data: agents } = useSuspenseQuery(agentsQuery);
  return (
    <>
      <PageHead title={t("agents.title")}>
        <p className="dim">{t("agents.about")}</p>
      </PageHead>
      <ul className={styles["roster"]}>
        {agents.map((agent) => (
          <Profile key={agent.id} agent={agent} workspaceId={workspaceId} />
        ))}
      </ul>
    </>
  );
}
