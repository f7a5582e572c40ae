import { createDataEngine } from "./data/engine.ts";
import { createProfiler } from "./data/profile.ts";
import { listFiles } from "./builtin/list-files.ts";
import { createProfileData } from "./builtin/profile-data.ts";
import { readFile } from "./builtin/read-file.ts";
import { createSearchFiles } from "./builtin/search-files.ts";
import { writeFile } from "./builtin/write-file.ts";
import { teamTools } from "./team/team-tools.ts";
import type { SealedTool } from "./tools.ts";

/**
 * The tools for files, data, colleagues and people, to be put in a registry once per process. `scratchFolder` (absolute,
 * created when needed) holds private copies while they are profiled; it is empty between calls.
 */
export function createBuiltInTools({ scratchFolder }: { scratchFolder: string }): SealedTool[] {
  const engine = createDataEngine();
  return [
    listFiles,
    readFile,
    createSearchFiles({ engine }),
    writeFile,
    createProfileData({ profile: createProfiler({ engine, scratchFolder }) }),
    ...teamTools,
  ];
}
