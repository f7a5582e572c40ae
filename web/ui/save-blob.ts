/** Hands a blob to the browser as a download. */
export function saveBlob(blob: Blob, path: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = path.split("/").at(-1) ?? path;
  link.click();
  // The browser has the blob by the next task; holding the address longer would hold the memory.
  setTimeout(() => URL.revokeObjectURL(url));
}
