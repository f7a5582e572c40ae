import { ConnectionError } from "@guildhall/sdk/client/errors.ts";
import type { CreateTask, Task } from "@guildhall/sdk/contract/task.ts";
import { describe, expect, it } from "vitest";
import { createTaskSender } from "./send-task.ts";

const task: CreateTask = { agent: "gray", prompt: "Profile it" };
const files = [{ path: "a.csv", data: new Blob(["a"]) }];

/** An API of this test: it numbers uploads, and answers creations or loses the answer. */
function createApi() {
  const created: { task: CreateTask; key: string }[] = [];
  let uploads = 0;
  let loses = false;
  const send = createTaskSender({
    upload: async () => ({ id: `upl_${++uploads}` }),
    create: async (body, key) => {
      created.push({ task: body, key });
      if (loses) throw new ConnectionError("The answer was lost.");
      return { id: `task_${created.length}` } as Task;
    },
  });
  return { send, created, lose: (on: boolean) => (loses = on) };
}

describe("createTaskSender", () => {
  it("repeats a lost send with the same key and the same upload", async () => {
    const { send, created, lose } = createApi();
    lose(true);
    await expect(send({ task, files })).rejects.toThrow("lost");
    lose(false);
    await send({ task, files });
    expect(created[1]).toEqual(created[0]);
    expect(created[0]?.task.upload_id).toBe("upl_1");
  });

  it("gives another task another key, and other files another upload", async () => {
    const { send, created } = createApi();
    await send({ task, files });
    await send({ task: { ...task, prompt: "Count it" }, files });
    await send({ task, files: [...files] });
    expect(new Set(created.map((each) => each.key)).size).toBe(3);
    expect(created.map((each) => each.task.upload_id)).toEqual(["upl_1", "upl_2", "upl_3"]);
  });

  it("uploads nothing when there are no files", async () => {
    const { send, created } = createApi();
    await send({ task, files: [] });
    expect(created[0]?.task).toEqual(task);
  });
});
