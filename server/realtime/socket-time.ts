import type { Clock } from "../platform/clock.ts";
import type { Db } from "../platform/db.ts";

/** How long the sockets of each workspace have been open in this process. */
export type SocketTime = {
  /** A socket of the workspace was opened. -> call once when it has closed */
  opened(workspaceId: string): () => void;
  /** Tells the database. What is told twice counts once; what was not told when the process dies is lost. */
  flush(): Promise<void>;
};

type Open = { sockets: number; openMs: number; sinceMs: number; toldMs: number };

/** `nodeId` names this process; one that starts anew takes another one and counts from 0. */
export function createSocketTime(deps: { db: Db; clock: Clock; nodeId: string }): SocketTime {
  const { db, clock, nodeId } = deps;
  const workspaces = new Map<string, Open>();

  function change(workspaceId: string, by: number): void {
    const nowMs = clock.monotonicMs();
    const open = workspaces.get(workspaceId) ?? {
      sockets: 0,
      openMs: 0,
      sinceMs: nowMs,
      toldMs: 0,
    };
    open.openMs += open.sockets * (nowMs - open.sinceMs);
    open.sinceMs = nowMs;
    open.sockets += by;
    workspaces.set(workspaceId, open);
  }

  return {
    opened(workspaceId) {
      change(workspaceId, 1);
      let closed = false;
      return () => {
        if (!closed) change(workspaceId, -1);
        closed = true;
      };
    },
    async flush() {
      const totals: { workspace_id: string; open_ms: number }[] = [];
      for (const [workspaceId, open] of workspaces) {
        change(workspaceId, 0);
        const openMs = Math.floor(open.openMs);
        if (openMs > open.toldMs) totals.push({ workspace_id: workspaceId, open_ms: openMs });
      }
      if (totals.length === 0) return;
      await db.ledger({
        name: "count_socket_time",
        text: "SELECT count_socket_time($1, $2::jsonb)",
        values: [nodeId, JSON.stringify(totals)],
      });
      for (const { workspace_id: workspaceId, open_ms: openMs } of totals) {
        const open = workspaces.get(workspaceId);
        if (open) open.toldMs = openMs;
      }
    },
  };
}
