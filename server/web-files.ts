import { resolve } from "node:path";
import serveStatic from "@fastify/static";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Http } from "./platform/http.ts";

const ONE_YEAR_S = 365 * 24 * 3_600;

/** Addresses that belong to the API and its documentation: what is not there is an error, not the page. */
const RESERVED = /^\/(?:v1|docs|healthz|readyz|metrics|socket\.io)(?:[/?]|$)/;

/**
 * The page's addresses exist only in the browser, so every other address that a person opens gets `index.html`; a
 * script that misses a file does not.
 */
export function openPage(request: FastifyRequest, reply: FastifyReply): boolean {
  const wantsHtml = (request.headers.accept ?? "").includes("text/html");
  if (request.method !== "GET" || !wantsHtml || RESERVED.test(request.url)) return false;
  void reply.code(200).sendFile("index.html");
  return true;
}

/** Serves the built page. Names of built assets carry a hash, so those never change; everything else is asked for. */
export async function addWebFiles(app: Http, folder: string): Promise<void> {
  await app.register(serveStatic, {
    root: resolve(folder),
    wildcard: false,
    cacheControl: false,
    setHeaders(reply, path) {
      const hashed = /[\\/]assets[\\/]/.test(path);
      const value = hashed ? `public, max-age=${ONE_YEAR_S}, immutable` : "no-cache";
      void reply.header("cache-control", value);
    },
  });
}
