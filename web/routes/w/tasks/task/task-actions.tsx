import { useState } from "react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Ban, RotateCw } from "lucide-react";
import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import { call } from "../../../../api/api.ts";
import { taskKeys } from "../../../../api/queries.ts";
import { formatCost } from "../../../../format/money.ts";
import { t } from "../../../../messages/translate.ts";
import { openNewTask } from "../../../../shell/dialogs.ts";
import { useShortcuts } from "../../../../shell/shortcuts.ts";
import { ReplayButton } from "../../../../tasks/replay-button.tsx";
import { hasEnded } from "../../../../tasks/task-state.tsx";
import { Button } from "../../../../ui/button.tsx";
import { Dialog, DialogActions } from "../../../../ui/dialog.tsx";
import { ProblemNotice } from "../../../../ui/problem.tsx";
import styles from "./task-page.module.css";

export function TaskActions({ task }: { task: TaskDetail }) {
  const [asking, setAsking] = useState(false);
  const isOver = hasEnded(task.state);
  useShortcuts({
    ".": () => {
      if (!isOver) setAsking(true);
    },
  });
  if (isOver) {
    const failed = task.state === "failed";
    const dialog = (
      <Button
        icon={failed ? undefined : <RotateCw size={16} aria-hidden />}
        onClick={() =>
          openNewTask({
            agent: task.agent_id,
            prompt: task.prompt,
            costLimitNanoUsd: task.limits.cost_nano_usd,
            ...(task.upload_id === null ? {} : { uploadId: task.upload_id }),
          })
        }
      >
        {failed ? t("task.changed") : t("task.again")}
      </Button>
    );
    if (!failed) return dialog;
    return (
      <div className={styles["actions"]}>
        <ReplayButton taskId={task.id} title={task.title} look="primary" />
        {dialog}
      </div>
    );
  }
  return (
    <>
      <Button
        look="danger"
        icon={<Ban size={16} aria-hidden />}
        aria-keyshortcuts="."
        onClick={() => setAsking(true)}
      >
        {t("task.cancel")}
      </Button>
      {asking && <CancelDialog task={task} onClose={() => setAsking(false)} />}
    </>
  );
}

function CancelDialog({ task, onClose }: { task: TaskDetail; onClose: () => void }) {
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => call((client) => client.tasks.cancel(task.id)),
    onSuccess: onClose,
    onSettled: () => queries.invalidateQueries({ queryKey: taskKeys.all }),
  });
  const spent = formatCost(task.usage.spent_nano_usd);
  return (
    <Dialog title={t("cancel.title")} onClose={onClose}>
      <p>{t("cancel.text", { title: task.title, spent })}</p>
      {cancel.isError && <ProblemNotice error={cancel.error} />}
      <DialogActions>
        <Button onClick={onClose}>{t("cancel.keep")}</Button>
        <Button look="danger" disabled={cancel.isPending} onClick={() => cancel.mutate()}>
          {cancel.isPending ? t("cancel.pending") : t("cancel.confirm")}
        </Button>
      </DialogActions>
    </Dialog>
  );
}
