import type { Artifact } from "@guildhall/sdk/contract/task.ts";
import { call } from "../../../../api/api.ts";
import { saveBlob } from "../../../../ui/save-blob.ts";

export type PreviewKind = "markdown" | "table" | "text" | "image" | "none";

const kindByExtension = new Map<string, PreviewKind>([
  ["md", "markdown"],
  ["markdown", "markdown"],
  ["csv", "table"],
  ["tsv", "table"],
  ["png", "image"],
  ["jpg", "image"],
  ["jpeg", "image"],
  ["gif", "image"],
  ["webp", "image"],
  // Pages and drawings can hold scripts: they are shown as the text that they are.
  ...["txt", "log", "json", "jsonl", "yaml", "yml", "toml", "xml", "html", "htm", "svg", "sql"].map(
    (extension) => [extension, "text"] as const,
  ),
  ...["js", "ts", "tsx", "jsx", "py", "rb", "go", "rs", "java", "c", "h", "cpp", "sh", "css"].map(
    (extension) => [extension, "text"] as const,
  ),
]);

/** Larger files are for downloading: a browser should not be asked to draw them. */
const maxPreviewBytes = 2 * 1024 * 1024;

export function previewKind(artifact: Artifact): PreviewKind {
  if (artifact.size_bytes > maxPreviewBytes) return "none";
  const extension = artifact.path.split(".").at(-1)?.toLowerCase() ?? "";
  return kindByExtension.get(extension) ?? "none";
}

export async function readArtifact(artifact: Artifact): Promise<Blob> {
  const response = await call((client) => client.artifacts.download(artifact.id));
  return response.blob();
}

/** The type that an image is drawn as is ours to say: by the file's own type a drawing could become a page. */
export function asImage(blob: Blob, path: string): Blob {
  const extension = path.split(".").at(-1)?.toLowerCase();
  const type = extension === "jpg" ? "jpeg" : (extension ?? "png");
  return new Blob([blob], { type: `image/${type}` });
}

/** Saves the file under its own name. */
export async function downloadArtifact(artifact: Artifact): Promise<void> {
  const blob = await readArtifact(artifact);
  saveBlob(new Blob([blob], { type: "application/octet-stream" }), artifact.path);
}
