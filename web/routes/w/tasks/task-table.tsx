import { useEffect, useRef } from "react";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { t } from "../../../messages/translate.ts";
import { TaskRow } from "./task-row.tsx";
import styles from "./task-table.module.css";
import { useRowFocus } from "./use-row-focus.ts";

const rowHeight = 48;

const columns = [
  "column.state",
  "column.title",
  "column.agent",
  "column.cost",
  "column.started",
  "column.duration",
] as const;

/**
 * Tasks as a table that draws only the rows in sight, and as cards on a narrow screen. One row is in the tab order;
 * arrows and j/k move it.
 */
export function TaskTable({
  tasks,
  workspaceId,
  hasMore,
  onEnd,
}: {
  tasks: readonly Task[];
  workspaceId: string;
  hasMore: boolean;
  onEnd: () => void;
}) {
  const body = useRef<HTMLTableSectionElement>(null);

  const virtualizer = useWindowVirtualizer({
    count: tasks.length,
    estimateSize: () => rowHeight,
    overscan: 10,
    scrollMargin: body.current?.offsetTop ?? 0,
    getItemKey: (index) => tasks[index]?.id ?? index,
  });
  const rows = virtualizer.getVirtualItems();
  const lastDrawn = rows.at(-1)?.index ?? 0;
  const { active, setActive, press } = useRowFocus({
    body,
    count: tasks.length,
    scrollTo: (index) => virtualizer.scrollToIndex(index),
  });

  useEffect(() => {
    if (hasMore && lastDrawn >= tasks.length - 10) onEnd();
  }, [hasMore, lastDrawn, onEnd, tasks.length]);

  return (
    <table
      aria-label={t("tasks.title")}
      aria-rowcount={hasMore ? -1 : tasks.length + 1}
      className={styles["table"]}
    >
      <thead>
        <tr aria-rowindex={1} className={`${styles["row"]} ${styles["head"]}`}>
          {columns.map((column) => (
            <th key={column} scope="col">
              {t(column)}
            </th>
          ))}
        </tr>
      </thead>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- the keys belong to the links inside, one of which is in the tab order */}
      <tbody
        ref={body}
        className={styles["body"]}
        style={{ height: virtualizer.getTotalSize() }}
        onKeyDown={press}
      >
        {rows.map((row) => {
          const task = tasks[row.index];
          return (
            task && (
              <tr
                key={row.key}
                ref={virtualizer.measureElement}
                aria-rowindex={row.index + 2}
                data-index={row.index}
                className={styles["row"]}
                style={{
                  transform: `translateY(${row.start - virtualizer.options.scrollMargin}px)`,
                }}
              >
                <TaskRow
                  task={task}
                  workspaceId={workspaceId}
                  inTabOrder={row.index === active}
                  onFocus={() => setActive(row.index)}
                />
              </tr>
            )
          );
        })}
      </tbody>
    </table>
  );
}
