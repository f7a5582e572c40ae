import { renderToStaticMarkup } from "react-dom/server";
import { expect, it } from "vitest";
import { reduceAll } from "../../../../events/reducer.ts";
import { emptyTaskView, type ToolEntry } from "../../../../events/task-view.ts";
import { streamOf } from "../../../../test/events.ts";
import { ToolStep } from "./tool-step.tsx";

const call = { step: 2, tool_use_id: "t", name: "send_message" };
const question = { kind: "question", question_id: "qst_1", question: "Did it?" } as const;

/** The call as the transcript has it after its worker was lost and a person was asked. */
function unknownCall(): ToolEntry {
  const view = reduceAll(
    emptyTaskView("task_1"),
    streamOf([
      { type: "run.claimed", data: { run_id: "run_1", attempt: 1, worker_id: "wrk_1" } },
      { type: "tool.started", data: { ...call, input: { subject: "Please review" } } },
      { type: "run.lease_lost", data: { run_id: "run_1", attempt: 1, worker_id: "wrk_1" } },
      { type: "run.claimed", data: { run_id: "run_1", attempt: 2, worker_id: "wrk_2" } },
      {
        type: "tool.completed",
        data: {
          ...call,
          is_error: true,
          summary: "Whether it took effect is unknown",
          preview: "",
          duration_ms: 0,
          outcome_unknown: true,
        },
      },
      { type: "task.waiting", data: question },
      { type: "task.cancelled", data: {} },
    ]),
  );
  const entry = view.entries.find((each) => each.kind === "tool");
  if (entry?.kind !== "tool") throw new Error("the call is not in the transcript");
  return entry;
}

it("a call of which nobody knows whether it took effect is shown as such, not as failed and not as done, to the end", () => {
  expect(unknownCall().status).toBe("unknown");
  const html = renderToStaticMarkup(<ToolStep entry={unknownCall()} />);
  expect(html).toContain("Message Please review");
  expect(html).toContain("outcome unknown");
  expect(html).not.toContain("failed");
});
