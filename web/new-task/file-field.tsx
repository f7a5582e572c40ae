import { useRef, useState, type DragEvent } from "react";
import { FileText, FolderOpen, X } from "lucide-react";
import type { InputFile } from "@guildhall/sdk/client/client.ts";
import { formatBytes } from "../format/number.ts";
import { t } from "../messages/translate.ts";
import { Button, IconButton } from "../ui/button.tsx";
import { droppedFiles, mergeFiles, pickedFiles } from "./dropped-files.ts";
import styles from "./file-field.module.css";

const listed = 8;

/** The files that the agent works on: dropped, or picked one by one or as a folder. */
export function FileField({
  files,
  onChange,
  onFailed,
}: {
  files: readonly InputFile[];
  onChange: (files: readonly InputFile[]) => void;
  onFailed: (error: unknown) => void;
}) {
  const filePicker = useRef<HTMLInputElement>(null);
  const folderPicker = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const bytes = files.reduce((sum, file) => sum + file.data.size, 0);

  function drop(event: DragEvent) {
    event.preventDefault();
    setOver(false);
    droppedFiles(event.dataTransfer).then((added) => onChange(mergeFiles(files, added)), onFailed);
  }
  function pick(list: FileList | null) {
    if (list !== null) onChange(mergeFiles(files, pickedFiles(list)));
  }

  return (
    // oxlint-disable-next-line jsx-a11y/no-static-element-interactions -- a target for the mouse beside the buttons, which do the same by keyboard
    <div
      className={over ? `${styles["drop"]} ${styles["over"]}` : styles["drop"]}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <p className={styles["title"]}>{t("files.title")}</p>
      <p className="dim">{t("files.drop")}</p>
      <div className={styles["buttons"]}>
        <Button
          icon={<FolderOpen size={16} aria-hidden />}
          onClick={() => folderPicker.current?.click()}
        >
          {t("files.folder")}
        </Button>
        <Button
          icon={<FileText size={16} aria-hidden />}
          onClick={() => filePicker.current?.click()}
        >
          {t("files.files")}
        </Button>
      </div>
      <input
        ref={filePicker}
        type="file"
        multiple
        hidden
        aria-label={t("files.files")}
        onChange={(event) => {
          pick(event.target.files);
          event.target.value = "";
        }}
      />
      <input
        ref={folderPicker}
        type="file"
        webkitdirectory=""
        hidden
        aria-label={t("files.folder")}
        onChange={(event) => {
          pick(event.target.files);
          event.target.value = "";
        }}
      />
      {files.length > 0 && (
        <>
          <ul className={styles["list"]}>
            {files.slice(0, listed).map((file) => (
              <li key={file.path}>
                <span className={styles["path"]}>{file.path}</span>
                <span className="dim money">{formatBytes(file.data.size)}</span>
                <IconButton
                  label={t("files.remove", { path: file.path })}
                  icon={<X size={14} aria-hidden />}
                  onClick={() => onChange(files.filter((each) => each.path !== file.path))}
                />
              </li>
            ))}
          </ul>
          <p className={styles["sum"]}>
            {files.length > listed && `${t("files.more", { count: files.length - listed })} `}
            {t("files.sum", { count: files.length, size: formatBytes(bytes) })}{" "}
            <Button look="ghost" onClick={() => onChange([])}>
              {t("files.clear")}
            </Button>
          </p>
        </>
      )}
    </div>
  );
}
