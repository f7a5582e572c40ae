import { join } from "node:path";
import { buildWeb, webBuilds } from "@guildhall/web/build.ts";
import { AppError } from "./platform/errors.ts";

/** The folder of the built page: in the checkout, for all its installations, or beside the data when that is read-only. */
export async function openWebFolder(dataDir: string): Promise<string> {
  try {
    const { folder } = await buildWeb({ places: [webBuilds, join(dataDir, "web")] });
    return folder;
  } catch (error) {
    throw new AppError({
      code: "page_not_built",
      status: 500,
      publicMessage: "The page could not be built; what is wrong with its sources is said above.",
      hint: "If you did not change them, install again: npm ci",
      cause: error,
    });
  }
}
