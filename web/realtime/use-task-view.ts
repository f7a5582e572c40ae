import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { emptyTaskView, type TaskView } from "../events/task-view.ts";
import type { TaskStream } from "../events/task-stream.ts";
import { useRealtime } from "./workspace.tsx";

const noSubscription = () => () => undefined;

/** The live view of one task: follows it as long as the component is mounted. */
export function useTaskView(taskId: string): TaskView {
  const realtime = useRealtime();
  const [stream, setStream] = useState<TaskStream>();
  useEffect(() => {
    if (realtime === undefined) return;
    const followed = realtime.follow(taskId);
    setStream(followed.stream);
    return () => {
      setStream(undefined);
      followed.release();
    };
  }, [realtime, taskId]);
  const empty = useMemo(() => emptyTaskView(taskId), [taskId]);
  return useSyncExternalStore(stream?.subscribe ?? noSubscription, () => stream?.view() ?? empty);
}

/** The live views of several tasks, by id. */
export function useTaskViews(taskIds: readonly string[]): ReadonlyMap<string, TaskView> {
  const realtime = useRealtime();
  const [views, setViews] = useState<ReadonlyMap<string, TaskView>>(new Map());
  const wanted = taskIds.toSorted().join(" ");
  useEffect(() => {
    if (realtime === undefined || wanted === "") return;
    const followed = wanted.split(" ").map((id) => ({ id, ...realtime.follow(id) }));
    let frame: number | undefined;
    // Many events of one moment are one drawing.
    const collect = () => {
      frame = undefined;
      setViews(new Map(followed.map(({ id, stream }) => [id, stream.view()])));
    };
    const schedule = () => {
      frame ??= requestAnimationFrame(collect);
    };
    const stops = followed.map(({ stream }) => stream.subscribe(schedule));
    schedule();
    return () => {
      if (frame !== undefined) cancelAnimationFrame(frame);
      for (const stop of stops) stop();
      for (const { release } of followed) release();
    };
  }, [realtime, wanted]);
  return views;
}
