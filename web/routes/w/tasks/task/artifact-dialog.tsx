import { useCallback } from "react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import type { Artifact } from "@guildhall/sdk/contract/task.ts";
import { formatBytes } from "../../../../format/number.ts";
import { t } from "../../../../messages/translate.ts";
import { Button } from "../../../../ui/button.tsx";
import { Dialog, DialogActions } from "../../../../ui/dialog.tsx";
import { Loading } from "../../../../ui/loading.tsx";
import { Markdown } from "../../../../ui/markdown.tsx";
import { ProblemNotice } from "../../../../ui/problem.tsx";
import { asImage, downloadArtifact, previewKind, readArtifact } from "./artifact-content.ts";
import { CsvTable } from "./csv-table.tsx";
import styles from "./artifact-dialog.module.css";

function ImagePreview({ blob, path }: { blob: Blob; path: string }) {
  const show = useCallback(
    (image: HTMLImageElement) => {
      const url = URL.createObjectURL(asImage(blob, path));
      image.src = url;
      return () => URL.revokeObjectURL(url);
    },
    [blob, path],
  );
  return <img ref={show} alt={path} className={styles["image"]} />;
}

function TextPreview({ blob, artifact }: { blob: Blob; artifact: Artifact }) {
  const { data: text } = useQuery({
    queryKey: ["artifact-text", artifact.id, artifact.sha256],
    queryFn: () => blob.text(),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (text === undefined) return <Loading />;
  switch (previewKind(artifact)) {
    case "markdown":
      return <Markdown text={text} />;
    case "table":
      return <CsvTable text={text} separator={artifact.path.endsWith(".tsv") ? "\t" : ","} />;
    default:
      return <pre className={styles["text"]}>{text}</pre>;
  }
}

function Preview({ artifact }: { artifact: Artifact }) {
  const content = useQuery({
    // The hash is part of the key: a file that was written again is another content.
    queryKey: ["artifact", artifact.id, artifact.sha256],
    queryFn: () => readArtifact(artifact),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (content.isError) return <ProblemNotice error={content.error} />;
  if (content.isPending) return <Loading />;
  return previewKind(artifact) === "image" ? (
    <ImagePreview blob={content.data} path={artifact.path} />
  ) : (
    <TextPreview blob={content.data} artifact={artifact} />
  );
}

/** A file of the agent, shown without ever letting it act: no HTML, no script, nothing from elsewhere. */
export function ArtifactDialog({ artifact, onClose }: { artifact: Artifact; onClose: () => void }) {
  const save = useMutation({ mutationFn: () => downloadArtifact(artifact) });
  return (
    <Dialog title={artifact.path} onClose={onClose} wide>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard */}
      <section aria-label={artifact.path} tabIndex={0} className={styles["content"]}>
        {previewKind(artifact) === "none" ? (
          <p>{t("artifact.noPreview", { size: formatBytes(artifact.size_bytes) })}</p>
        ) : (
          <Preview artifact={artifact} />
        )}
      </section>
      {save.isError && <ProblemNotice error={save.error} />}
      <DialogActions>
        <Button onClick={onClose}>{t("close")}</Button>
        <Button
          look="primary"
          icon={<Download size={16} aria-hidden />}
          disabled={save.isPending}
          onClick={() => save.mutate()}
        >
          {t("artifact.save")}
        </Button>
      </DialogActions>
    </Dialog>
  );
}
