import type { KeptFolder } from "./run-folder.ts";

/**
 * A folder that is empty until somebody wants something of it, and is made then: many runs never touch theirs.
 * `open` is called again when it has failed.
 */
export function folderOnDemand(open: () => Promise<KeptFolder>): KeptFolder {
  let opened: Promise<KeptFolder> | undefined;
  function folder(): Promise<KeptFolder> {
    opened ??= open().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  }
  return {
    list: async (query) => (await folder()).list(query),
    stat: async (path) => (await folder()).stat(path),
    openForRead: async (path) => (await folder()).openForRead(path),
    readText: async (path, maxBytes) => (await folder()).readText(path, maxBytes),
    writeText: async (path, text) => (await folder()).writeText(path, text),
    totals: async () => (await folder()).totals(),
    listWritten: async () => (await folder()).listWritten(),
    copyIn: async (source, path, options) => (await folder()).copyIn(source, path, options),
    makeFolder: async (path) => (await folder()).makeFolder(path),
    survey: async () => (opened === undefined ? [] : (await opened).survey()),
    prune: async (keep) => (opened === undefined ? undefined : (await opened).prune(keep)),
  };
}
