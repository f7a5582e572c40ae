import type { InputFile } from "@guildhall/sdk/client/client.ts";

/** Files of a folder are listed in portions; the reader is asked until it has no more. */
async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (some.length === 0) return all;
    all.push(...some);
  }
}

const isFolder = (entry: FileSystemEntry): entry is FileSystemDirectoryEntry => entry.isDirectory;
const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

async function collect(entry: FileSystemEntry, prefix: string): Promise<InputFile[]> {
  const path = prefix + entry.name;
  if (isFile(entry)) {
    const data = await new Promise<File>((resolve, reject) => entry.file(resolve, reject));
    return [{ path, data }];
  }
  if (!isFolder(entry)) return [];
  const files: InputFile[] = [];
  for (const child of await entriesOf(entry)) files.push(...(await collect(child, `${path}/`)));
  return files;
}

/** What was dropped, folders with everything in them. Call while the drop event is handled. */
export function droppedFiles(transfer: DataTransfer): Promise<InputFile[]> {
  // The list is emptied as soon as the event is over, so its entries are taken before the first wait.
  const entries = [...transfer.items].flatMap((item) => {
    const entry = item.webkitGetAsEntry();
    return entry ? [entry] : [];
  });
  return Promise.all(entries.map((entry) => collect(entry, ""))).then((lists) => lists.flat());
}

/** What a file or folder picker gave; files of a folder keep their place in it. */
export function pickedFiles(files: FileList): InputFile[] {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, data: file }));
}

/** Adds files to those that are there; a file that comes again replaces its earlier self. */
export function mergeFiles(
  before: readonly InputFile[],
  added: readonly InputFile[],
): readonly InputFile[] {
  return [...new Map([...before, ...added].map((file) => [file.path, file])).values()];
}
