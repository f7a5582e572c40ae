import { z } from "zod";

/** A mark up to which the prompt is cached. Other lifetimes, and entries shared beyond the workspace, have no price here. */
export const cacheControl = z
  .strictObject({ type: z.literal("ephemeral"), ttl: z.enum(["5m", "1h"]).optional() })
  .nullish();
