import type { z } from "zod";
import type { Event, eventListSchema } from "@guildhall/sdk/contract/event.ts";
import type { WorkspaceTx } from "../platform/db.ts";

type EventRow = { stream_id: string; seq: number; type: string; data: unknown; at: Date };

/** The writers of events are typed by the contract, and the stored JSON is what they wrote. */
function toEvent(row: EventRow): Event {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- parsing thousands of stored events again would only cost time
  return { ...row, at: row.at.toISOString() } as Event;
}

/**
 * The events of a task's stream after a sequence number, dense and in order; undefined when the workspace has no such
 * task. The stream is read after its events: it may then know of more than the page has, never of less.
 */
export async function readEvents(
  tx: WorkspaceTx,
  taskId: string,
  query: { after: number; limit: number },
): Promise<z.infer<typeof eventListSchema> | undefined> {
  const rows = await tx.query<EventRow>({
    name: "task_events",
    text: "SELECT stream_id, seq, type, data, at FROM events WHERE workspace_id = current_workspace() AND stream_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    values: [taskId, query.after, query.limit],
  });
  const [stream] = await tx.query<{ last_seq: number; closed: boolean }>({
    name: "task_stream",
    text: "SELECT last_seq, closed FROM streams WHERE workspace_id = current_workspace() AND id = $1",
    values: [taskId],
  });
  return stream && { data: rows.map(toEvent), ...stream };
}
