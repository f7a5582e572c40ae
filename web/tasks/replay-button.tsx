import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { RotateCw } from "lucide-react";
import { call } from "../api/api.ts";
import { taskKeys } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { Button, type ButtonProps } from "../ui/button.tsx";
import { describeProblem } from "../ui/problem.tsx";

/** Does a failed task again as it was, as a new task, and goes to that one's page. Of one task there is one replay. */
export function ReplayButton({
  taskId,
  title,
  ...button
}: { taskId: string; title: string } & Pick<
  ButtonProps,
  "look" | "className" | "tabIndex" | "onFocus"
>) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  const replay = useMutation({
    mutationFn: () => call((client) => client.tasks.replay(taskId)),
    onSuccess: (task) => {
      void queries.invalidateQueries({ queryKey: taskKeys.all });
      void navigate({
        to: "/w/$workspaceId/tasks/$taskId",
        params: { workspaceId, taskId: task.id },
      });
    },
  });
  return (
    <>
      {replay.isError && (
        <span role="alert" className="field-problem">
          {describeProblem(replay.error).detail}
        </span>
      )}
      <Button
        {...button}
        icon={<RotateCw size={16} aria-hidden />}
        aria-label={t("task.replayOf", { title })}
        title={t("task.replayTitle")}
        disabled={replay.isPending}
        onClick={() => replay.mutate()}
      >
        {t("task.replay")}
      </Button>
    </>
  );
}
