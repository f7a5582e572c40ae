import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import { readMail, sendMail, type MailCall } from "../../agents/mail.ts";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import { invariant } from "../../platform/errors.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import { newId } from "../../platform/ids.ts";
import { storableText } from "../../platform/storable-json.ts";
import { shorten } from "../../tools/result-text.ts";
import type { RunFolder } from "../../tools/run-folder.ts";
import type { Asked, Delegation, TeamPort } from "../../tools/team/team-port.ts";
import {
  findDelegatedFiles,
  placeDelegatedFiles,
  type DelegatedFile,
} from "../files/delegated-files.ts";
import { createChild, findChild, type Child } from "./delegation.ts";
import type { Claim } from "../execution/run-claims.ts";
import { fenced, StaleAttempt, whenReachable } from "../execution/run-fence.ts";
import type { RunLease } from "../execution/run-lease.ts";
import { appendRunEvents } from "../execution/run-steps.ts";

export type TeamDeps = {
  db: Db;
  files: FileStore;
  folder: RunFolder;
  claim: Claim;
  lease: RunLease;
  /** Who executes the run. */
  agentId: string;
};

const SHOWN_PROMPT_LENGTH = 2_000;

async function mailCall(tx: WorkspaceTx, { claim, agentId }: TeamDeps, key: string) {
  const [task] = await tx.query<{ root_task_id: string }>({
    text: "SELECT root_task_id FROM tasks WHERE workspace_id = $1 AND id = $2",
    values: [claim.workspaceId, claim.taskId],
  });
  invariant(task !== undefined, "a claimed run has its task");
  const call: MailCall = { taskId: claim.taskId, rootTaskId: task.root_task_id, agentId, key };
  return call;
}

async function askOnce(
  tx: WorkspaceTx,
  { claim }: TeamDeps,
  asked: { idempotencyKey: string; question: string },
): Promise<Asked> {
  await tx.query({
    text: `INSERT INTO questions (workspace_id, id, task_id, question, idempotency_key) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (workspace_id, idempotency_key) DO NOTHING`,
    values: [
      claim.workspaceId,
      newId("qst"),
      claim.taskId,
      storableText(asked.question),
      asked.idempotencyKey,
    ],
  });
  const [question] = await tx.query<{ id: string; answer: string | null }>({
    text: "SELECT id, answer FROM questions WHERE workspace_id = $1 AND idempotency_key = $2",
    values: [claim.workspaceId, asked.idempotencyKey],
  });
  invariant(question !== undefined, "a question that was just stored is there");
  return question.answer === null
    ? { status: "open", questionId: question.id }
    : { status: "answered", answer: question.answer };
}

type FoundChild = { child: Child; files: DelegatedFile[] };

async function deliver(
  { folder, files, claim }: TeamDeps,
  { child, files: wrote }: FoundChild,
): Promise<Delegation> {
  const { id: taskId, agent_id: agentId, state, cause, result } = child;
  if (state !== "succeeded" && state !== "failed" && state !== "cancelled")
    return { status: "open", taskId };
  const { workspaceId } = claim;
  const { leftOut } = await placeDelegatedFiles({ folder, files, workspaceId }, wrote);
  const paths = wrote.map((file) => file.path);
  return {
    status: "ended",
    taskId,
    agentId,
    state,
    cause,
    result,
    files: paths.filter((path) => !leftOut.has(path)),
    leftOut: [...leftOut],
  };
}

/**
 * The colleagues and people of one attempt. Everything it writes is fenced by the lease, in one transaction with the
 * event that tells of it; the fence also locks the task's stream, so that executions of one call never overlap.
 */
export function createTeam(deps: TeamDeps): TeamPort {
  const { claim, lease, agentId } = deps;

  async function say(tx: WorkspaceTx, events: readonly EventBody[]): Promise<void> {
    if (!(await appendRunEvents(tx, claim, events))) throw new StaleAttempt();
  }

  function write<T>(work: (tx: WorkspaceTx) => Promise<T>): Promise<T> {
    return whenReachable(lease, () =>
      fenced(deps, async (tx) => {
        await say(tx, []);
        return work(tx);
      }),
    );
  }

  async function findOrCreateChild(
    tx: WorkspaceTx,
    { idempotencyKey: key, ...request }: Parameters<TeamPort["delegate"]>[0],
  ): Promise<FoundChild> {
    const existing = await findChild(tx, key);
    if (existing !== undefined) {
      const files = await findDelegatedFiles(tx, claim.taskId);
      return { child: existing, files: files.filter((file) => file.childTaskId === existing.id) };
    }
    const prompt = storableText(request.prompt);
    const childTaskId = await createChild(tx, { ...request, prompt, claim, agentId, key });
    const data = {
      child_task_id: childTaskId,
      agent_id: request.agent,
      prompt: shorten(prompt, SHOWN_PROMPT_LENGTH),
    };
    await say(tx, [{ type: "task.delegated", data }]);
    const child = await findChild(tx, key);
    invariant(child !== undefined, "a task that was just delegated is there");
    return { child, files: [] };
  }

  return {
    send: ({ idempotencyKey, to, subject, body }) =>
      write(async (tx) => {
        const call = await mailCall(tx, deps, idempotencyKey);
        const mail = { subject: storableText(subject), body: storableText(body) };
        const { id: messageId, isNew } = await sendMail(tx, { call, to, ...mail });
        const data = {
          message_id: messageId,
          from_agent_id: agentId,
          to_agent_id: to,
          subject: mail.subject,
        };
        if (isNew) await say(tx, [{ type: "message.sent", data }]);
        return { messageId, to };
      }),
    readInbox: (key) => write(async (tx) => readMail(tx, await mailCall(tx, deps, key))),
    delegate: async (request) => deliver(deps, await write((tx) => findOrCreateChild(tx, request))),
    ask: (asked) => write((tx) => askOnce(tx, deps, asked)),
  };
}
