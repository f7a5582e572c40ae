import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { z } from "zod";
import {
  eventListSchema,
  listEventsSchema,
  streamEventsSchema,
} from "@guildhall/sdk/contract/event.ts";
import { principalOf } from "../identity/guard.ts";
import type { Http } from "../platform/http.ts";
import { createEventStreams } from "./event-streams.ts";
import type { Tasks } from "./tasks.ts";

const idParams = z.object({ id: z.string() });

/** For routes that wait: a signal per answer that aborts when it can no longer be read, or the server is about to close. */
function createWaitSignals(app: Http): (reply: FastifyReply) => AbortSignal {
  const waiting = new Set<AbortController>();
  app.addHook("preClose", async () => {
    for (const controller of waiting) controller.abort();
  });
  return (reply) => {
    const controller = new AbortController();
    waiting.add(controller);
    reply.raw.once("close", () => {
      waiting.delete(controller);
      controller.abort();
    });
    return controller.signal;
  };
}

function addEventStream(
  app: Http,
  tasks: Tasks,
  signalOf: (reply: FastifyReply) => AbortSignal,
): void {
  const streams = createEventStreams(tasks);
  app.route({
    method: "GET",
    url: "/v1/tasks/:id/events/stream",
    config: { access: "tasks:read" },
    schema: {
      operationId: "streamTaskEvents",
      tags: ["Tasks"],
      summary: "Follow a task's events as they come",
      description:
        "Server-sent events in one answer, which counts as one request however long it lasts: `id` is the event's `seq`, `event` is `task_event` and `data` is the event. The last one is `end`, when the task takes no more. An answer that stops without it was interrupted: ask again with `after`, or with the `Last-Event-ID` that browsers send. A comment comes every few seconds. Ends soon after its credential does.",
      params: idParams,
      querystring: streamEventsSchema,
    },
    handler: async (request, reply) => {
      const { workspaceId, actor } = principalOf(request);
      const resumed = Number(request.headers["last-event-id"]);
      const frames = await streams.open({
        workspaceId,
        actor,
        id: request.params.id,
        after: Number.isSafeInteger(resumed) && resumed > 0 ? resumed : request.query.after,
        signal: signalOf(reply),
        checkAccess: () => request.checkAccess(),
      });
      return reply
        .headers({
          "content-type": "text/event-stream; charset=utf-8",
          "cache-control": "no-store",
          // An idle connection that outlives its stream would hold up a server that is about to close.
          connection: "close",
          // A proxy that gathers the answer before it passes it on would make it useless.
          "x-accel-buffering": "no",
        })
        .send(Readable.from(frames));
    },
  });
}

/** A task's events: page by page with or without waiting, or as one answer that goes on. */
export function addEventRoutes(app: Http, tasks: Tasks): void {
  const signalOf = createWaitSignals(app);

  app.route({
    method: "GET",
    url: "/v1/tasks/:id/events",
    config: { access: "tasks:read" },
    // Thousands of stored events: they are what the contract's types let writers write, and are not parsed again.
    serializerCompiler: () => JSON.stringify,
    schema: {
      operationId: "listTaskEvents",
      tags: ["Tasks"],
      summary: "Read a task's events from a cursor on",
      description:
        "Events are numbered 1, 2, 3, ... without a gap. With `wait_ms` the answer waits for the first new event. The stream is complete when `closed` is true and you have `last_seq`. To follow a task to its end, `/v1/tasks/{id}/events/stream` needs one request only.",
      params: idParams,
      querystring: listEventsSchema,
      response: { 200: eventListSchema },
    },
    handler: (request, reply) =>
      tasks.events({
        workspaceId: principalOf(request).workspaceId,
        id: request.params.id,
        query: request.query,
        signal: signalOf(reply),
      }),
  });

  addEventStream(app, tasks, signalOf);
}
