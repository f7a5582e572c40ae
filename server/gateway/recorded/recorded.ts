import { readFile } from "node:fs/promises";
import { unscrubBody, type RecordedRequest } from "./scrub.ts";

/** What one client sent in one scenario, with texts of the recorded sizes. */
export type Recorded = { client: string; name: string; requests: RecordedRequest[] };

const FILES = ["typescript", "python", "claude-code", "agent-sdk"];

type File = {
  client: string;
  version: string;
  recordings: { name: string; requests: RecordedRequest[] }[];
};

/** All recordings in the repository. */
export async function readRecorded(): Promise<Recorded[]> {
  const files = await Promise.all(
    FILES.map(async (name) => {
      const text = await readFile(new URL(`${name}.json`, import.meta.url), "utf8");
      return JSON.parse(text) as File;
    }),
  );
  return files.flatMap(({ client, version, recordings }) =>
    recordings.map(({ name, requests }) => ({
      client: `${client} ${version}`,
      name,
      requests: requests.map((request) => ({ ...request, body: unscrubBody(request.body) })),
    })),
  );
}

export function isMessagesCall(request: RecordedRequest): boolean {
  return request.method === "POST" && request.path.split("?")[0] === "/v1/messages";
}

export function isCountCall(request: RecordedRequest): boolean {
  return request.method === "POST" && request.path.split("?")[0] === "/v1/messages/count_tokens";
}
