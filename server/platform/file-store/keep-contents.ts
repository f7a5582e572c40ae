import { eachAtOnce } from "../at-once.ts";
import type { Db } from "../db.ts";
import { invariant } from "../errors.ts";
import { markStored, reserveContents, type Missing } from "./contents.ts";
import type { LocalFile, ObjectStore } from "./object-store.ts";

/** Uploads to a service take a round trip each. */
const AT_ONCE = 8;

type Keeping = { workspaceId: string; files: readonly LocalFile[]; objects: ObjectStore };

async function send(missing: readonly Missing[], keeping: Keeping): Promise<void> {
  const { workspaceId, files, objects } = keeping;
  const bySha = new Map(files.map((file) => [file.sha256, file]));
  await eachAtOnce(missing, AT_ONCE, async ({ sha256, object }) => {
    const file = bySha.get(sha256);
    invariant(file !== undefined, "what is reserved was asked for");
    await objects.put({ workspaceId, object }, file);
  });
}

/** Counts the contents of files for the workspace, all or none, and sends what is not in the store yet. */
export async function keepContents(
  db: Db,
  { quotaBytes, ...keeping }: Keeping & { quotaBytes: number | null },
): Promise<void> {
  const { workspaceId, files, objects } = keeping;
  for (;;) {
    const missing = await reserveContents(db, { workspaceId, files, quotaBytes });
    await send(missing, keeping);
    const names = missing.map(({ object }) => object);
    const lost = await markStored(db, workspaceId, names);
    if (lost.length === 0) return;
    // This process slept for longer than the grace. What it has just sent under those names nobody will ask for.
    for (const object of lost) await objects.remove({ workspaceId, object });
  }
}
