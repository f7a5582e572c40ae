import { createHash } from "node:crypto";
import scalar from "@scalar/fastify-api-reference";
import { errorCatalogue } from "./openapi-errors.ts";
import type { Http } from "./platform/http.ts";

const INLINE_SCRIPT = /<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g;

/** The page starts itself by one inline script; exactly that text is allowed, by its hash, and no other. */
function policyFor(html: string): string {
  const hashes = [...html.matchAll(INLINE_SCRIPT)].map(
    ([, code = ""]) => `'sha256-${createHash("sha256").update(code).digest("base64")}'`,
  );
  return [
    "default-src 'none'",
    `script-src 'self' ${hashes.join(" ")}`,
    // The reference page makes its style sheet when it runs.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/** Everything that would reach beyond this server is off: fonts, proxy, telemetry, assistant, registry. */
const configuration = {
  url: "/v1/openapi.json",
  pageTitle: "Guildhall API",
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
  persistAuth: false,
  authentication: { preferredSecurityScheme: "credential" },
  externalUrls: { dashboardUrl: "", registryUrl: "", proxyUrl: "", apiBaseUrl: "" },
} as const;

function errorsPage(): string {
  const entries = Object.entries(errorCatalogue).map(
    ([code, { status, meaning }]) =>
      `<dt id="${code}"><code>${code}</code> (${status})</dt>\n<dd>${meaning}</dd>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guildhall API: error codes</title>
</head>
<body>
<main>
<h1>Error codes</h1>
<p>Every error answer is a problem document (RFC 9457) with one of these codes. See the <a href="/docs/api/">reference</a> for the routes.</p>
<dl>
${entries.join("\n")}
</dl>
</main>
</body>
</html>
`;
}

/** The reference page at `/docs/api/` and the page of error codes at `/docs/errors`, both without anything from elsewhere. */
export async function addReferencePages(app: Http): Promise<void> {
  await app.register(async (scope) => {
    scope.addHook("onSend", async (_request, reply, payload) => {
      const type = String(reply.getHeader("content-type") ?? "");
      if (type.startsWith("text/html") && typeof payload === "string")
        void reply.header("content-security-policy", policyFor(payload));
      return payload;
    });
    await scope.register(scalar, { routePrefix: "/docs/api", configuration });
  });

  const html = errorsPage();
  app.route({
    method: "GET",
    url: "/docs/errors",
    schema: { hide: true },
    handler: (_request, reply) => reply.type("text/html; charset=utf-8").send(html),
  });
}
