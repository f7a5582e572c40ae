import type { InputFile } from "@guildhall/sdk/client/client.ts";
import type { CreateTask, Task } from "@guildhall/sdk/contract/task.ts";
import { newIdempotencyKey } from "./idempotency-key.ts";

type SendTask = (what: { task: CreateTask; files: readonly InputFile[] }) => Promise<Task>;

/**
 * Uploads, then creates: a task may start the moment it exists, and needs its files then. Sending the same again, since
 * the first answer was lost, uses the same key and the same upload, and so can never become two tasks.
 */
export function createTaskSender(api: {
  upload: (files: readonly InputFile[]) => Promise<{ id: string }>;
  create: (task: CreateTask, idempotencyKey: string) => Promise<Task>;
}): SendTask {
  let last:
    | { task: string; files: readonly InputFile[]; key: string; uploadId?: string }
    | undefined;
  return async ({ task, files }) => {
    const text = JSON.stringify(task);
    if (last?.task !== text || last.files !== files) {
      last = { task: text, files, key: newIdempotencyKey() };
    }
    const sending = last;
    if (files.length === 0) return api.create(task, sending.key);
    sending.uploadId ??= (await api.upload(files)).id;
    return api.create({ ...task, upload_id: sending.uploadId }, sending.key);
  };
}
