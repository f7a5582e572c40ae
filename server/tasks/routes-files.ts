import multipart from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { artifactListSchema, uploadSchema } from "@guildhall/sdk/contract/task.ts";
import { principalOf } from "../identity/guard.ts";
import { AppError } from "../platform/errors.ts";
import type { Http } from "../platform/http.ts";
import { validationFailed } from "../platform/http-errors.ts";
import { type Artifacts, dispositionOf, inlineTypeOf } from "./files/artifacts.ts";
import { callerOf } from "./routes.ts";
import type { IncomingFile, Uploads } from "./files/uploads.ts";

const idParams = z.object({ id: z.string() });
const FIELD = "files";

function notMultipart(): AppError {
  return new AppError({
    code: "unsupported_media_type",
    status: 415,
    publicMessage: "Files are sent as multipart/form-data.",
    hint: "For example: curl -F 'files=@data/a.csv;filename=data/a.csv' …/v1/uploads",
  });
}

/** The files of a multipart body, one at a time as they arrive. Anything else in it is refused by its name. */
async function* incomingFiles(
  request: FastifyRequest,
  maxBytes: number,
): AsyncGenerator<IncomingFile, void, undefined> {
  const parts = request.parts({
    // The path comes in the filename; without this the parser keeps only its last part.
    preservePath: true,
    // Files are counted and measured by the upload itself, which says what was too much.
    limits: {
      fileSize: maxBytes + 1,
      files: Infinity,
      parts: Infinity,
      fields: 1,
      fieldSize: 1_024,
    },
  });
  for await (const part of parts) {
    if (part.type !== "file" || part.fieldname !== FIELD) {
      throw validationFailed([
        { field: part.fieldname, message: `There is no such field; files are named ${FIELD}.` },
      ]);
    }
    yield { path: part.filename, stream: part.file };
  }
}

function addUploads(app: Http, options: { uploads: Uploads; maxBytes: number }): void {
  const { uploads, maxBytes } = options;
  app.route({
    method: "POST",
    url: "/v1/uploads",
    config: { access: "tasks:write", policy: "upload" },
    schema: {
      operationId: "createUpload",
      tags: ["Files"],
      summary: "Send files for a task to work on",
      description:
        "multipart/form-data with one part named `files` per file; its filename is the relative path, for example `data/a.csv`. All files are kept, or none. The id of the answer goes into `upload_id` of a task.",
      consumes: ["multipart/form-data"],
      response: { 201: uploadSchema },
    },
    handler: async (request, reply) => {
      if (!request.isMultipart()) throw notMultipart();
      const announced = request.headers["content-length"];
      uploads.requireFits(announced === undefined ? undefined : Number(announced));
      try {
        const upload = await uploads.create({
          caller: callerOf(request),
          files: incomingFiles(request, maxBytes),
        });
        return await reply.code(201).send(upload);
      } catch (error) {
        // The rest is read and dropped, so that a client that still sends gets the answer and not a reset.
        request.raw.unpipe();
        request.raw.resume();
        throw error;
      }
    },
  });
}

function addArtifacts(app: Http, artifacts: Artifacts): void {
  app.route({
    method: "GET",
    url: "/v1/tasks/:id/artifacts",
    config: { access: "tasks:read" },
    schema: {
      operationId: "listArtifacts",
      tags: ["Files"],
      summary: "List the files that a task has written",
      params: idParams,
      response: { 200: artifactListSchema },
    },
    handler: async (request) => ({
      data: await artifacts.list(principalOf(request).workspaceId, request.params.id),
    }),
  });

  app.route({
    method: "GET",
    url: "/v1/artifacts/:id/content",
    config: { access: "tasks:read" },
    schema: {
      operationId: "getArtifactContent",
      tags: ["Files"],
      summary: "Download a file that a task has written",
      description:
        "An attachment. With `inline=1`, text, Markdown, CSV and JSON come as plain text and PNG, JPEG, GIF and WebP as images; everything else stays an attachment.",
      params: idParams,
      querystring: z.strictObject({ inline: z.enum(["0", "1"]).default("0") }),
      response: { 200: z.any().describe("The content") },
      produces: ["application/octet-stream"],
    },
    // The body is the file itself, not JSON.
    serializerCompiler: () => JSON.stringify,
    handler: async (request, reply) => {
      const { id } = request.params;
      const content = await artifacts.open(principalOf(request).workspaceId, id);
      const shown = request.query.inline === "1" ? inlineTypeOf(content.path) : undefined;
      return reply
        .headers({
          "content-type": shown ?? "application/octet-stream",
          "content-length": content.sizeBytes,
          "content-disposition": dispositionOf(shown ? "inline" : "attachment", content.path),
          // An agent wrote it: whatever it is, it runs nothing, loads nothing and is not of this origin.
          "content-security-policy": "default-src 'none'; sandbox",
          "x-content-type-options": "nosniff",
          "cache-control": "private, no-store",
          etag: `"${content.sha256}"`,
        })
        .send(content.stream);
    },
  });
}

/** Uploads and artifacts. `maxBytes` bounds an upload, all its files together. */
export async function addFileRoutes(
  app: Http,
  options: { uploads: Uploads; artifacts: Artifacts; maxBytes: number },
): Promise<void> {
  await app.register(multipart);
  addUploads(app, options);
  addArtifacts(app, options.artifacts);
}
