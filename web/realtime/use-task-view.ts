import { useMemo, useSyncExternalStore } from "react";
import { emptyTaskView, type TaskView } from "../events/task-view.ts";
import type { TaskStream } from "../events/task-stream.ts";
import { currentRealtime } from "./workspace.ts";

/** Follows a task while somebody listens. */
function taskSource(taskId: string) {
  const empty = emptyTaskView(taskId);
  let stream: TaskStream | undefined;
  return {
    subscribe(listener: () => void) {
      const followed = currentRealtime()?.follow(taskId);
      stream = followed?.stream;
      const stop = stream?.subscribe(listener);
      return () => {
        stop?.();
        followed?.release();
      };
    },
    view: () => stream?.view() ?? empty,
  };
}

/** The live view of one task: follows it as long as the component is mounted. */
export function useTaskView(taskId: string): TaskView {
  const source = useMemo(() => taskSource(taskId), [taskId]);
  return useSyncExternalStore(source.subscribe, source.view);
}

/** Follows several tasks; what happens within one frame is one change. */
function tasksSource(taskIds: readonly string[]) {
  let views: ReadonlyMap<string, TaskView> = new Map();
  return {
    subscribe(listener: () => void) {
      const realtime = currentRealtime();
      if (realtime === undefined) return () => undefined;
      const followed = taskIds.map((id) => ({ id, ...realtime.follow(id) }));
      let frame: number | undefined;
      const schedule = () => {
        frame ??= requestAnimationFrame(() => {
          frame = undefined;
          views = new Map(followed.map(({ id, stream }) => [id, stream.view()]));
          listener();
        });
      };
      const stops = followed.map(({ stream }) => stream.subscribe(schedule));
      schedule();
      return () => {
        if (frame !== undefined) cancelAnimationFrame(frame);
        for (const stop of stops) stop();
        for (const { release } of followed) release();
      };
    },
    views: () => views,
  };
}

/** The live views of several tasks, by id. */
export function useTaskViews(taskIds: readonly string[]): ReadonlyMap<string, TaskView> {
  const wanted = taskIds.toSorted().join(" ");
  const source = useMemo(() => tasksSource(wanted === "" ? [] : wanted.split(" ")), [wanted]);
  return useSyncExternalStore(source.subscribe, source.views);
}
