import { useMemo, useRef, useState, type KeyboardEvent } from "react";
import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import type { Agent } from "@guildhall/sdk/contract/workspace.ts";
import { agentsQuery, meQuery, officeTasksQuery } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { agentStatus, type AgentStatus } from "../../../office/agent-status.ts";
import { officeSummary } from "../../../office/describe-status.ts";
import { useTaskViews } from "../../../realtime/use-task-view.ts";
import { useShortcuts } from "../../../shell/shortcuts.ts";
import { hasEnded } from "../../../tasks/task-state.tsx";
import { PageHead } from "../../../ui/page-head.tsx";
import { ProblemNotice } from "../../../ui/problem.tsx";
import { useNow } from "../../../ui/use-now.ts";
import { AgentDesk } from "./agent-desk.tsx";
import { Inspector } from "./inspector.tsx";
import styles from "./office-page.module.css";

/** On narrow screens the inspector stands below the list, mostly out of sight. */
const stacked = "(max-width: 900px)";

/** More open tasks than this are shown by their rows alone, without their steps. */
const mostFollowed = 24;

function useStatuses(agents: readonly Agent[]) {
  const nowMs = useNow();
  const { data: tasks = [], error } = useQuery(officeTasksQuery);
  const followed = useMemo(
    () =>
      tasks
        .filter((task) => !hasEnded(task.state))
        .slice(0, mostFollowed)
        .map((task) => task.id),
    [tasks],
  );
  const views = useTaskViews(followed);
  const statuses = new Map<string, AgentStatus>(
    agents.map((agent) => [agent.id, agentStatus({ agentId: agent.id, tasks, views, nowMs })]),
  );
  return { statuses, views, nowMs, error };
}

/** The office as a list: who does what, in words and shapes, and one agent in detail. */
export function OfficePage() {
  const { workspaceId } = useParams({ from: "/w/$workspaceId/office" });
  const { data: agents } = useSuspenseQuery(agentsQuery);
  const { data: me } = useSuspenseQuery(meQuery);
  const { statuses, views, nowMs, error } = useStatuses(agents);
  const desks = useMemo(() => agents.toSorted((left, right) => left.desk - right.desk), [agents]);
  const [chosen, setChosen] = useState(desks[0]?.id);
  const list = useRef<HTMLUListElement>(null);
  const inspector = useRef<HTMLElement>(null);
  const showInspector = () => inspector.current?.scrollIntoView({ block: "nearest" });
  const index = Math.max(
    0,
    desks.findIndex((agent) => agent.id === chosen),
  );
  const agent = desks[index];
  const status = agent && statuses.get(agent.id);

  function moveTo(next: number) {
    const desk = desks[Math.max(0, Math.min(desks.length - 1, next))];
    if (desk === undefined) return;
    setChosen(desk.id);
    list.current?.querySelector<HTMLElement>(`[data-agent="${CSS.escape(desk.id)}"]`)?.focus();
  }
  useShortcuts({ j: () => moveTo(index + 1), k: () => moveTo(index - 1) });
  function press(event: KeyboardEvent) {
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: index + 1,
      ArrowRight: index + 1,
      ArrowUp: index - 1,
      ArrowLeft: index - 1,
      Home: 0,
      End: desks.length - 1,
    };
    const next = Object.hasOwn(moves, event.key) ? moves[event.key] : undefined;
    if (next === undefined) return;
    event.preventDefault();
    moveTo(next);
  }

  return (
    <>
      <PageHead title={t("office.title")}>
        <p className="dim">{officeSummary([...statuses.values()])}</p>
      </PageHead>
      {error && <ProblemNotice error={error} />}
      <div className={styles["office"]}>
        <section aria-label={t("office.title")} className={styles["floor"]}>
          <h2 className={styles["team"]}>{me.workspace.name}</h2>
          {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- the keys belong to the buttons inside, one of which is in the tab order */}
          <ul ref={list} className={styles["desks"]} onKeyDown={press}>
            {desks.map((desk) => {
              const own = statuses.get(desk.id);
              return (
                own && (
                  <AgentDesk
                    key={desk.id}
                    agent={desk}
                    status={own}
                    nowMs={nowMs}
                    chosen={desk.id === agent?.id}
                    onFocus={() => setChosen(desk.id)}
                    onClick={() => {
                      setChosen(desk.id);
                      if (matchMedia(stacked).matches) showInspector();
                    }}
                  />
                )
              );
            })}
          </ul>
        </section>
        {agent && status && (
          <Inspector
            ref={inspector}
            agent={agent}
            status={status}
            view={status.kind === "idle" ? undefined : views.get(status.task.id)}
            workspaceId={workspaceId}
            nowMs={nowMs}
          />
        )}
      </div>
    </>
  );
}
