import { z } from "zod";

/** RFC 9457 problem document, the body of every error answer (`application/problem+json`). */
export const problemSchema = z.object({
  /** Where the code is explained; relative to the server. */
  type: z.string(),
  title: z.string(),
  status: z.int(),
  /** Stable machine name, for example `task_not_found`. */
  code: z.string(),
  /** What was wrong. */
  detail: z.string(),
  /** What to do about it. */
  hint: z.string().optional(),
  /** The offending fields, dotted paths into the request. */
  errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
  request_id: z.string(),
});

export type Problem = z.infer<typeof problemSchema>;
