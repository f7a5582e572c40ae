import { useState } from "react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import type { InputFile } from "@guildhall/sdk/client/client.ts";
import type { CreateTask } from "@guildhall/sdk/contract/task.ts";
import { call } from "../api/api.ts";
import { agentsQuery, meQuery, taskKeys } from "../api/queries.ts";
import { formatLimit, parseUsd } from "../format/money.ts";
import { t } from "../messages/translate.ts";
import type { TaskDraft } from "../shell/dialogs.ts";
import { Button } from "../ui/button.tsx";
import { CommandLine } from "../ui/copy-button.tsx";
import { Dialog, DialogActions } from "../ui/dialog.tsx";
import { Loading } from "../ui/loading.tsx";
import { ProblemNotice } from "../ui/problem.tsx";
import { Tabs } from "../ui/tabs.tsx";
import { AgentCards } from "./agent-cards.tsx";
import { asCli, asCurl } from "./as-command.ts";
import { CapField } from "./cap-field.tsx";
import { FileField } from "./file-field.tsx";
import { newIdempotencyKey } from "./idempotency-key.ts";
import styles from "./new-task-dialog.module.css";

const usualCapNanoUsd = 500_000_000;
const longestPrompt = 100_000;

type Sending = { task: CreateTask; files: readonly InputFile[]; key: string };

/** Uploads first: a task starts the moment it exists, and needs its files then. */
async function send({ task, files, key }: Sending) {
  const upload =
    files.length === 0 ? undefined : await call((client) => client.uploads.create(files));
  const whole = upload === undefined ? task : { ...task, upload_id: upload.id };
  return call((client) => client.tasks.create(whole, key));
}

export default function NewTaskDialog({
  draft,
  onClose,
}: {
  draft: TaskDraft;
  onClose: () => void;
}) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  const { data: agents } = useQuery(agentsQuery);
  const { data: me } = useQuery(meQuery);
  const [prompt, setPrompt] = useState(draft.prompt ?? "");
  const [agent, setAgent] = useState(draft.agent ?? "");
  const [cap, setCap] = useState(formatLimit(draft.costLimitNanoUsd ?? usualCapNanoUsd).slice(1));
  const [files, setFiles] = useState<readonly InputFile[]>([]);
  const [keepsInput, setKeepsInput] = useState(draft.uploadId !== undefined);
  const [readError, setReadError] = useState<unknown>();
  // One key for what the dialog holds: sent twice it stays one task, changed it is another.
  const [key, setKey] = useState(newIdempotencyKey);
  const create = useMutation({
    mutationFn: send,
    onError: () => setKey(newIdempotencyKey()),
    onSuccess: (task) => {
      void queries.invalidateQueries({ queryKey: taskKeys.all });
      onClose();
      void navigate({
        to: "/w/$workspaceId/tasks/$taskId",
        params: { workspaceId, taskId: task.id },
      });
    },
  });

  const chosen = agent || (agents?.[0]?.id ?? "");
  const capNanoUsd = parseUsd(cap);
  const capIsGood = capNanoUsd !== undefined && capNanoUsd > 0;
  const ready = prompt.trim() !== "" && chosen !== "" && capIsGood && !create.isPending;
  const command = {
    agent: chosen,
    prompt: prompt.trim() || t("newTask.example"),
    costLimitNanoUsd: capNanoUsd,
    paths: files.map((file) => file.path),
  };

  function submit() {
    if (!ready) return;
    const task: CreateTask = {
      agent: chosen,
      prompt: prompt.trim(),
      limits: { cost_nano_usd: capNanoUsd },
      ...(keepsInput && draft.uploadId !== undefined ? { upload_id: draft.uploadId } : {}),
    };
    create.mutate({ task, files, key });
  }

  return (
    <Dialog title={t("newTask.title")} onClose={onClose} wide>
      <form
        className={styles["form"]}
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <label className="field">
          <span>{t("newTask.prompt")}</span>
          <textarea
            rows={4}
            // The first thing to fill in is where the cursor is; the dialog was asked for.
            // oxlint-disable-next-line jsx-a11y/no-autofocus -- focus inside a dialog that the person opened
            autoFocus
            maxLength={longestPrompt}
            placeholder={t("newTask.example")}
            value={prompt}
            onChange={(event) => setPrompt(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
              event.preventDefault();
              submit();
            }}
          />
        </label>
        {agents ? <AgentCards agents={agents} chosen={chosen} onChoose={setAgent} /> : <Loading />}
        {keepsInput && files.length === 0 ? (
          <p className={styles["kept"]}>
            {t("files.kept")}
            <Button look="ghost" onClick={() => setKeepsInput(false)}>
              {t("files.other")}
            </Button>
          </p>
        ) : (
          <FileField files={files} onChange={setFiles} onFailed={setReadError} />
        )}
        <CapField value={cap} onChange={setCap} simulated={me?.model.simulated ?? false} />
        <details className={styles["elsewhere"]}>
          <summary>{t("newTask.elsewhere")}</summary>
          <Tabs
            label={t("newTask.elsewhere")}
            tabs={[
              {
                id: "cli",
                label: t("newTask.cli"),
                content: <CommandLine text={asCli(command)} label={t("newTask.cli")} />,
              },
              {
                id: "curl",
                label: t("newTask.curl"),
                content: (
                  <CommandLine text={asCurl(command, location.origin)} label={t("newTask.curl")} />
                ),
              },
            ]}
          />
        </details>
        {readError !== undefined && <ProblemNotice error={readError} />}
        {create.isError && <ProblemNotice error={create.error} money={t("newTask.noCost")} />}
        <DialogActions>
          <Button onClick={onClose}>{t("newTask.dismiss")}</Button>
          <Button type="submit" look="primary" disabled={!ready}>
            {create.isPending
              ? files.length > 0
                ? t("newTask.uploading", { count: files.length })
                : t("newTask.sending")
              : t("newTask.run")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
