import type { WorkspaceTx } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { messageToSelf, tooManyHops, tooManyMessages, unknownRecipient } from "./mail-errors.ts";

/** Messages between two agents, both directions, in one task and everything that was delegated from it. */
const MAX_MESSAGES_OF_PAIR = 20;
/** How long a chain of messages may get, each sent by somebody who had read the one before. */
const MAX_HOPS = 6;
/** Read with one call: at the longest body that a message may have they still fit into one tool result. */
const MAX_READ = 20;
const MAX_READ_BYTES = 60_000;

/** Which task sends or reads, on behalf of which agent. `key` names the one call, whoever repeats it. */
export type MailCall = { taskId: string; rootTaskId: string; agentId: string; key: string };
export type Mail = { id: string; from: string; subject: string; body: string };

/** $2 and all that was delegated from it. The index of the latter leaves out what is nobody's child. */
const FAMILY = "(t.id = $2 OR t.root_task_id = $2 AND t.depth > 0)";

type Cause = { hops: number; thread_id: string };

/**
 * The message that led to a new one: the newest that this task or its relatives read from the recipient, else the one
 * of all they read that came the longest way.
 */
async function findCause(
  tx: WorkspaceTx,
  { rootTaskId, to }: { rootTaskId: string; to: string },
): Promise<Cause | undefined> {
  const [cause] = await tx.query<Cause>({
    text: `SELECT m.hops, m.thread_id FROM tasks t JOIN messages m ON m.workspace_id = t.workspace_id AND m.read_by_task_id = t.id
           WHERE t.workspace_id = $1 AND ${FAMILY}
           ORDER BY m.from_agent_id = $3 DESC, CASE WHEN m.from_agent_id = $3 THEN m.read_at END DESC, m.hops DESC, m.id DESC LIMIT 1`,
    values: [tx.workspaceId, rootTaskId, to],
  });
  return cause;
}

/** Throws why the message must not be sent. */
async function requireAllowed(tx: WorkspaceTx, { call, to }: { call: MailCall; to: string }) {
  const from = call.agentId;
  if (to === from) throw messageToSelf();
  const agents = await tx.query<{ id: string }>({
    text: "SELECT id FROM agents WHERE workspace_id = $1 ORDER BY desk, id LIMIT 50",
    values: [tx.workspaceId],
  });
  const known = await tx.query({
    text: "SELECT id FROM agents WHERE workspace_id = $1 AND id = $2",
    values: [tx.workspaceId, to],
  });
  if (known.length === 0)
    throw unknownRecipient(
      to,
      agents.map((agent) => agent.id).filter((id) => id !== from),
    );
  // Counted without a lock of its own: of a task and its relatives only one executes, for a parent waits for its child.
  const [pair] = await tx.query<{ count: number }>({
    text: `SELECT count(*)::int AS count FROM tasks t JOIN messages m ON m.workspace_id = t.workspace_id AND m.task_id = t.id
           WHERE t.workspace_id = $1 AND ${FAMILY} AND (m.from_agent_id, m.to_agent_id) IN (($3, $4), ($4, $3))`,
    values: [tx.workspaceId, call.rootTaskId, from, to],
  });
  if ((pair?.count ?? 0) >= MAX_MESSAGES_OF_PAIR)
    throw tooManyMessages({ from, to, atMost: MAX_MESSAGES_OF_PAIR });
}

/**
 * Puts a message into the inbox of `to`, once per key: a repetition answers the first one's id and `isNew: false`.
 * Throws `recipient_unknown`, `message_to_self`, `too_many_messages` and `too_many_hops`. The caller's transaction
 * holds the task's stream, so that calls with one key come one after the other.
 */
export async function sendMail(
  tx: WorkspaceTx,
  mail: { call: MailCall; to: string; subject: string; body: string },
): Promise<{ id: string; isNew: boolean }> {
  const { call, to } = mail;
  const [sent] = await tx.query<{ id: string }>({
    text: "SELECT id FROM messages WHERE workspace_id = $1 AND idempotency_key = $2",
    values: [tx.workspaceId, call.key],
  });
  if (sent !== undefined) return { id: sent.id, isNew: false };
  await requireAllowed(tx, { call, to });
  const cause = await findCause(tx, { rootTaskId: call.rootTaskId, to });
  const hops = cause === undefined ? 0 : cause.hops + 1;
  if (hops > MAX_HOPS) throw tooManyHops(MAX_HOPS);
  const id = newId("msg");
  await tx.query({
    text: `INSERT INTO messages (workspace_id, id, thread_id, task_id, from_agent_id, to_agent_id, subject, body, hops, idempotency_key)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    values: [
      tx.workspaceId,
      id,
      cause?.thread_id ?? newId("thr"),
      call.taskId,
      call.agentId,
      to,
      mail.subject,
      mail.body,
      hops,
      call.key,
    ],
  });
  return { id, isNew: true };
}

const READ_COLUMNS = `id, from_agent_id AS "from", subject, body`;

/** The longest start of the messages whose JSON stays small enough to be told in one piece; at least one of them. */
function fitting(mails: readonly Mail[]): Mail[] {
  let bytes = 0;
  const end = mails.findIndex((mail) => {
    bytes += Buffer.byteLength(JSON.stringify(mail)) + 1;
    return bytes > MAX_READ_BYTES;
  });
  return end === -1 ? [...mails] : mails.slice(0, Math.max(1, end));
}

/**
 * Takes messages out of the agent's inbox, oldest first, and marks them as read by this task. A repetition of the call
 * answers the same messages, not those that came since. A message that another task of the agent takes at this moment
 * is passed over: it is read once. `unread` is what remains.
 */
export async function readMail(
  tx: WorkspaceTx,
  call: MailCall,
): Promise<{ messages: Mail[]; unread: number }> {
  const before = await tx.query<Mail>({
    text: `SELECT ${READ_COLUMNS} FROM messages WHERE workspace_id = $1 AND read_by_task_id = $2 AND read_key = $3 ORDER BY sent_at, id`,
    values: [tx.workspaceId, call.taskId, call.key],
  });
  const messages = before.length > 0 ? before : fitting(await nextMails(tx, call.agentId));
  if (before.length === 0 && messages.length > 0)
    await tx.query({
      text: `UPDATE messages SET read_at = clock_now(), read_by_task_id = $3, read_key = $4 WHERE workspace_id = $1 AND id = ANY($2)`,
      values: [tx.workspaceId, messages.map((mail) => mail.id), call.taskId, call.key],
    });
  const [left] = await tx.query<{ unread: number }>({
    text: "SELECT count(*)::int AS unread FROM messages WHERE workspace_id = $1 AND to_agent_id = $2 AND read_at IS NULL",
    values: [tx.workspaceId, call.agentId],
  });
  return { messages, unread: left?.unread ?? 0 };
}

function nextMails(tx: WorkspaceTx, agentId: string): Promise<Mail[]> {
  return tx.query<Mail>({
    text: `SELECT ${READ_COLUMNS} FROM messages WHERE workspace_id = $1 AND to_agent_id = $2 AND read_at IS NULL
           ORDER BY sent_at, id LIMIT ${MAX_READ} FOR UPDATE SKIP LOCKED`,
    values: [tx.workspaceId, agentId],
  });
}
