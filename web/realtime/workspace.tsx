import { createContext, useContext, useEffect, useState, type ReactNode } from "react";
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { call, session } from "../api/api.ts";
import { setConnection } from "./connection.ts";
import { createRealtime, type Realtime } from "./realtime.ts";
import { createTaskCache } from "./task-cache.ts";

const pollMs = 1_500;

const RealtimeContext = createContext<Realtime | undefined>(undefined);

/** The connection of one workspace, for everything below; undefined while it is being made. */
export function useRealtime(): Realtime | undefined {
  return useContext(RealtimeContext);
}

function open(client: QueryClient): Realtime {
  const cache = createTaskCache(client);
  return createRealtime({
    url: location.origin,
    token: () => session.token(),
    renewToken: () => session.renew(),
    readEvents: async ({ taskId, after }) => {
      const page = await call((api) => api.tasks.events(taskId, { after }));
      return { events: page.data, lastSeq: page.last_seq, closed: page.closed };
    },
    onTask: cache.put,
    onState: (state) => {
      setConnection(state);
      // What changed while nobody told us is read again.
      if (state === "live") cache.refresh();
    },
    pollMs,
  });
}

export function RealtimeProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [realtime, setRealtime] = useState<Realtime>();
  useEffect(() => {
    const opened = open(client);
    setRealtime(opened);
    return () => {
      setRealtime(undefined);
      opened.close();
    };
  }, [client]);
  return <RealtimeContext value={realtime}>{children}</RealtimeContext>;
}
