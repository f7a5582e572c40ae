import { z } from "zod";

/** What a process that `guildhall cluster` has started tells it, over the channel between the two. */
const messageSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("ready"),
    /** Origin of the API, or of health and metrics. */
    url: z.string(),
    /** Origin of its gateway, when it has one. */
    gatewayUrl: z.string().optional(),
    /** Owner of its gateway's holds. */
    processId: z.string(),
  }),
  /** It takes no more work, and should be sent no more requests. */
  z.object({ type: z.literal("draining") }),
]);
type LauncherMessage = z.infer<typeof messageSchema>;
export type ReadyProcess = Omit<Extract<LauncherMessage, { type: "ready" }>, "type">;

export function parseLauncherMessage(message: unknown): LauncherMessage | undefined {
  const parsed = messageSchema.safeParse(message);
  return parsed.success ? parsed.data : undefined;
}

/** Does nothing in a process that was started otherwise. */
export function tellLauncher(message: LauncherMessage): void {
  if (process.connected) process.send?.(message);
}
