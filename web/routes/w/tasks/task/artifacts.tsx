import { useState } from "react";
import { useMutation } from "@tanstack/react-query";
import { Download, FileText } from "lucide-react";
import type { Artifact } from "@guildhall/sdk/contract/task.ts";
import { formatBytes } from "../../../../format/number.ts";
import { t } from "../../../../messages/translate.ts";
import { Button, IconButton } from "../../../../ui/button.tsx";
import { ProblemNotice } from "../../../../ui/problem.tsx";
import { downloadArtifact } from "./artifact-content.ts";
import { ArtifactDialog } from "./artifact-dialog.tsx";
import styles from "./artifacts.module.css";

function ArtifactRow({ artifact, onOpen }: { artifact: Artifact; onOpen: () => void }) {
  const save = useMutation({ mutationFn: () => downloadArtifact(artifact) });
  return (
    <li className={styles["row"]}>
      <Button
        look="ghost"
        className={styles["name"] ?? ""}
        icon={<FileText size={16} aria-hidden />}
        onClick={onOpen}
      >
        <span className={styles["path"]}>{artifact.path}</span>
      </Button>
      <span className="dim money">{formatBytes(artifact.size_bytes)}</span>
      <IconButton
        label={t("artifact.download", { path: artifact.path })}
        icon={<Download size={16} aria-hidden />}
        disabled={save.isPending}
        onClick={() => save.mutate()}
      />
      {save.isError && <ProblemNotice error={save.error} />}
    </li>
  );
}

/** The files that the agent wrote. */
export function Artifacts({ artifacts }: { artifacts: readonly Artifact[] }) {
  const [open, setOpen] = useState<Artifact>();
  if (artifacts.length === 0) return null;
  return (
    <section aria-labelledby="artifacts" className="panel">
      <h2 id="artifacts">{t("artifacts.title")}</h2>
      <ul className={styles["list"]}>
        {artifacts.map((artifact) => (
          <ArtifactRow key={artifact.path} artifact={artifact} onOpen={() => setOpen(artifact)} />
        ))}
      </ul>
      {open && <ArtifactDialog artifact={open} onClose={() => setOpen(undefined)} />}
    </section>
  );
}
