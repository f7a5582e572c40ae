import { AppError } from "../errors.ts";
import { storageFull } from "./object-store.ts";

/** How the service is reached; key id and secret come together, or the machine's own role is used. */
export type S3Settings = {
  bucket: string;
  region: string;
  /** Without one: the region's own at AWS. */
  endpoint?: string | undefined;
  pathStyle: boolean;
  keyId?: string | undefined;
  secret?: { reveal(): string } | undefined;
};

type Failure = { name: string; status: number | undefined; code: string };

/** What the client's errors tell; nothing of the request, which carries the signature. */
export function failureOf(error: unknown): Failure {
  const none = { name: "", status: undefined, code: "" };
  if (!(error instanceof Error)) return none;
  const metadata: unknown = "$metadata" in error ? error.$metadata : undefined;
  const status: unknown =
    typeof metadata === "object" && metadata !== null && "httpStatusCode" in metadata
      ? metadata.httpStatusCode
      : undefined;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return { name: error.name, code, status: typeof status === "number" ? status : undefined };
}

const FULL = new Set(["QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"]);

/** A failure of a request, once the client has given up. */
export function translatedS3(error: unknown): unknown {
  if (error instanceof AppError) return error;
  const { name, status } = failureOf(error);
  if (status === 507 || FULL.has(name)) return storageFull(error);
  return new AppError({
    code: "storage_unavailable",
    status: 503,
    publicMessage: "The file store cannot be used at present.",
    hint: "Try again in a few seconds.",
    cause: error,
    retryable: true,
    retryAfterMs: 5_000,
  });
}

function unreachable(settings: S3Settings): string {
  return settings.endpoint === undefined
    ? "Set S3_ENDPOINT, unless the bucket is at AWS; then correct S3_REGION."
    : "Start the service, or correct S3_ENDPOINT.";
}

/** What is wrong and what to do, by what the service answered. */
function diagnose({ name, status }: Failure, settings: S3Settings): { what: string; fix: string } {
  const { bucket, region } = settings;
  const credentials =
    settings.keyId === undefined
      ? "Set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY, or give this machine's role the rights."
      : "Correct S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY.";
  if (name === "NoSuchBucket" || status === 404)
    return {
      what: `there is no bucket ${bucket}`,
      fix: "Make the bucket, or correct S3_BUCKET; a service of one's own mostly wants S3_PATH_STYLE=1.",
    };
  if (name === "InvalidAccessKeyId" || name === "SignatureDoesNotMatch")
    return { what: "it does not accept the key", fix: credentials };
  if (name === "CredentialsProviderError")
    return { what: "there are no credentials", fix: credentials };
  if (name === "RequestTimeTooSkewed")
    return { what: "the clock of this machine is wrong", fix: "Set the clock (NTP)." };
  if (status === 301 || name === "AuthorizationHeaderMalformed")
    return { what: `the bucket is not in the region ${region}`, fix: "Correct S3_REGION." };
  if (name === "AccessDenied" || status === 403)
    return {
      what: `the key may not work in the bucket ${bucket}`,
      fix: "Allow it s3:PutObject, s3:GetObject and s3:DeleteObject there.",
    };
  return {
    what: status === undefined ? "it cannot be reached" : `it answered ${status}`,
    fix: unreachable(settings),
  };
}

/** The error that stops a start. */
export function s3NotUsable(error: unknown, settings: S3Settings): AppError {
  const failure = failureOf(error);
  const { what, fix } = diagnose(failure, settings);
  const where = settings.endpoint === undefined ? "AWS" : new URL(settings.endpoint).origin;
  return new AppError({
    code: "storage_not_usable",
    status: 500,
    publicMessage: `The file store at ${where} cannot be used: ${what}.`,
    hint: fix,
    internal: [failure.name, failure.code].filter((part) => part !== "").join(" "),
    cause: error,
  });
}
