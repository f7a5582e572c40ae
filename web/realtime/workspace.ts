import type { QueryClient } from "@tanstack/react-query";
import { call, session } from "../api/api.ts";
import { alertsKey, meKey } from "../api/queries.ts";
import { setConnection, useConnection } from "./connection.ts";
import { createRealtime, type Realtime } from "./realtime.ts";
import { createTaskCache } from "./task-cache.ts";

const pollMs = 1_500;

let current: { workspaceId: string; realtime: Realtime } | undefined;

/** Connects to a workspace, or keeps the connection that there is. One at a time: it carries one workspace's token. */
export function openRealtime(workspaceId: string, queries: QueryClient): void {
  if (current?.workspaceId === workspaceId) return;
  closeRealtime();
  const cache = createTaskCache(queries);
  const realtime = createRealtime({
    url: location.origin,
    token: () => session.token(),
    renewToken: () => session.renew(),
    readEvents: async ({ taskId, after }) => {
      const page = await call((api) => api.tasks.events(taskId, { after }));
      return { events: page.data, lastSeq: page.last_seq, closed: page.closed };
    },
    onTask: cache.put,
    onWorkspace: () => {
      void queries.invalidateQueries({ queryKey: alertsKey });
      void queries.invalidateQueries({ queryKey: meKey });
    },
    onState: (state) => {
      setConnection(state);
      // What changed while nobody told us is read again.
      if (state === "live") cache.refresh();
    },
    onSocketFailed: () => {
      if (useConnection.getState().state !== "offline") setConnection("polling");
    },
    pollMs,
  });
  current = { workspaceId, realtime };
}

export function closeRealtime(): void {
  current?.realtime.close();
  current = undefined;
}

/** The open connection; undefined when signed out. */
export function currentRealtime(): Realtime | undefined {
  return current?.realtime;
}
