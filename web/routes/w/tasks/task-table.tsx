import { useEffect, useRef, useState, type KeyboardEvent } from "react";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { t } from "../../../messages/translate.ts";
import { useShortcuts } from "../../../shell/shortcuts.ts";
import { TaskRow } from "./task-row.tsx";
import styles from "./task-table.module.css";

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
  const body = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(0);
  const wanted = useRef<number>(undefined);
  const virtualizer = useWindowVirtualizer({
    count: tasks.length,
    estimateSize: () => rowHeight,
    overscan: 10,
    scrollMargin: body.current?.offsetTop ?? 0,
    getItemKey: (index) => tasks[index]?.id ?? index,
  });
  const rows = virtualizer.getVirtualItems();
  const lastDrawn = rows.at(-1)?.index ?? 0;

  useEffect(() => {
    if (hasMore && lastDrawn >= tasks.length - 10) onEnd();
  }, [hasMore, lastDrawn, onEnd, tasks.length]);

  useEffect(() => {
    if (wanted.current === undefined) return;
    const link = body.current?.querySelector<HTMLElement>(`[data-row="${wanted.current}"] a`);
    if (!link) return;
    wanted.current = undefined;
    link.focus();
  });

  function moveTo(index: number) {
    const next = Math.max(0, Math.min(tasks.length - 1, index));
    wanted.current = next;
    setActive(next);
    virtualizer.scrollToIndex(next);
  }
  const hasFocus = () => body.current?.contains(document.activeElement) === true;
  useShortcuts({
    j: () => moveTo(hasFocus() ? active + 1 : active),
    k: () => moveTo(hasFocus() ? active - 1 : active),
  });
  function press(event: KeyboardEvent) {
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      Home: 0,
      End: tasks.length - 1,
    };
    const next = Object.hasOwn(steps, event.key) ? steps[event.key] : undefined;
    if (next === undefined) return;
    event.preventDefault();
    moveTo(next);
  }

  return (
    <div
      role="table"
      aria-label={t("tasks.title")}
      aria-rowcount={hasMore ? -1 : tasks.length + 1}
      className={styles["table"]}
    >
      <div role="rowgroup">
        <div role="row" aria-rowindex={1} className={`${styles["row"]} ${styles["head"]}`}>
          {columns.map((column) => (
            <span key={column} role="columnheader">
              {t(column)}
            </span>
          ))}
        </div>
      </div>
      {/* oxlint-disable-next-line jsx-a11y/interactive-supports-focus, jsx-a11y/no-static-element-interactions -- the keys belong to the links inside, one of which is in the tab order */}
      <div
        ref={body}
        role="rowgroup"
        className={styles["body"]}
        style={{ height: virtualizer.getTotalSize() }}
        onKeyDown={press}
      >
        {rows.map((row) => {
          const task = tasks[row.index];
          return (
            task && (
              <div
                key={row.key}
                ref={virtualizer.measureElement}
                role="row"
                aria-rowindex={row.index + 2}
                data-index={row.index}
                data-row={row.index}
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
              </div>
            )
          );
        })}
      </div>
    </div>
  );
}
