import { useState } from "react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import type { InputFile } from "@guildhall/sdk/client/client.ts";
import { GuildhallError } from "@guildhall/sdk/client/errors.ts";
import { call } from "../api/api.ts";
import { agentsQuery, meQuery, taskKeys } from "../api/queries.ts";
import { formatLimit, parseUsd } from "../format/money.ts";
import { t } from "../messages/translate.ts";
import type { TaskDraft } from "../shell/dialogs.ts";
import { Button } from "../ui/button.tsx";
import { Dialog, DialogActions } from "../ui/dialog.tsx";
import { Loading } from "../ui/loading.tsx";
import { ProblemNotice } from "../ui/problem.tsx";
import { AgentCards } from "./agent-cards.tsx";
import { AsCommandTabs } from "./as-command-tabs.tsx";
import { CapField } from "./cap-field.tsx";
import { FileField } from "./file-field.tsx";
import { createTaskSender } from "./send-task.ts";
import { StartField, startOf } from "./start-field.tsx";
import styles from "./new-task-dialog.module.css";

const usualCapNanoUsd = 500_000_000;
const longestPrompt = 100_000;

/** Creates the task and goes to its page. */
function useCreateTask(onClose: () => void) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  const [send] = useState(() =>
    createTaskSender({
      upload: (files) => call((client) => client.uploads.create(files)),
      create: (task, key) => call((client) => client.tasks.create(task, key)),
    }),
  );
  return useMutation({
    mutationFn: send,
    onSuccess: (task) => {
      void queries.invalidateQueries({ queryKey: taskKeys.all });
      onClose();
      void navigate({
        to: "/w/$workspaceId/tasks/$taskId",
        params: { workspaceId, taskId: task.id },
      });
    },
  });
}

function PromptField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <label className="field">
      <span>{t("newTask.prompt")}</span>
      <textarea
        rows={4}
        data-first-focus
        maxLength={longestPrompt}
        placeholder={t("newTask.example")}
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
    </label>
  );
}

function runLabel({ sending, files }: { sending: boolean; files: number }): string {
  if (!sending) return t("newTask.run");
  return files > 0 ? t("newTask.uploading", { count: files }) : t("newTask.sending");
}

export default function NewTaskDialog({
  draft,
  onClose,
}: {
  draft: TaskDraft;
  onClose: () => void;
}) {
  const { data: agents } = useQuery(agentsQuery);
  const { data: me } = useQuery(meQuery);
  const [prompt, setPrompt] = useState(draft.prompt ?? "");
  const [agent, setAgent] = useState(draft.agent ?? "");
  const [cap, setCap] = useState(formatLimit(draft.costLimitNanoUsd ?? usualCapNanoUsd).slice(1));
  const [start, setStart] = useState("");
  const [files, setFiles] = useState<readonly InputFile[]>([]);
  const [uploadId, setUploadId] = useState(draft.uploadId);
  const [readError, setReadError] = useState<unknown>();
  const create = useCreateTask(onClose);

  const chosen = agent || (agents?.[0]?.id ?? "");
  const capNanoUsd = parseUsd(cap) ?? 0;
  const startAfter = startOf(start)?.toISOString();
  const ready = prompt.trim() !== "" && chosen !== "" && capNanoUsd > 0 && !create.isPending;

  function submit() {
    if (!ready) return;
    create.mutate({
      task: {
        agent: chosen,
        prompt: prompt.trim(),
        limits: { cost_nano_usd: capNanoUsd },
        ...(uploadId === undefined ? {} : { upload_id: uploadId }),
        ...(startAfter === undefined ? {} : { start_after: startAfter }),
      },
      files,
    });
  }

  return (
    <Dialog title={t("newTask.title")} onClose={onClose} wide>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- a shortcut of the controls inside, which are interactive */}
      <form
        className={styles["form"]}
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
        // Wherever the focus is: a radio button or the prompt do not submit by Enter alone.
        onKeyDown={(event) => {
          if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
          event.preventDefault();
          // Not past the browser's own check: a date that is half typed in has no value, and would mean now.
          event.currentTarget.requestSubmit();
        }}
      >
        <PromptField value={prompt} onChange={setPrompt} />
        {agents ? <AgentCards agents={agents} chosen={chosen} onChoose={setAgent} /> : <Loading />}
        {uploadId === undefined ? (
          <FileField files={files} onChange={setFiles} onFailed={setReadError} />
        ) : (
          <p className={styles["kept"]}>
            {t("files.kept")}
            <Button look="ghost" onClick={() => setUploadId(undefined)}>
              {t("files.other")}
            </Button>
          </p>
        )}
        <CapField value={cap} onChange={setCap} simulated={me?.model.simulated ?? false} />
        <StartField value={start} onChange={setStart} />
        <AsCommandTabs
          command={{
            agent: chosen,
            prompt: prompt.trim() || t("newTask.example"),
            costLimitNanoUsd: capNanoUsd || undefined,
            startAfter,
            paths: files.map((file) => file.path),
          }}
        />
        {readError !== undefined && <ProblemNotice error={readError} />}
        {create.isError && (
          <ProblemNotice
            error={create.error}
            // Without an answer nobody knows: but the same sent again stays one task.
            money={
              create.error instanceof GuildhallError ? t("newTask.noCost") : t("newTask.sendAgain")
            }
          />
        )}
        <DialogActions>
          <Button onClick={onClose}>{t("newTask.dismiss")}</Button>
          <Button type="submit" look="primary" disabled={!ready}>
            {runLabel({ sending: create.isPending, files: files.length })}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
